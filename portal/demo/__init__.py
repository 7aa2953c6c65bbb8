"""The demo and the lab's commands: the one room that may know all others."""
