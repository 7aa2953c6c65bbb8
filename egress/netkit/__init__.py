"""Kernel state: what is wanted and what is there, the plan between the two, and its application."""
