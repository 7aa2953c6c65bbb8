"""Holds `sitecustomize`, which a node agent's interpreter imports by itself: its clock can be moved from outside."""
