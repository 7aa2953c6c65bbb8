"""The CNI plugin: a thin shim to the node agent. Standard library only."""
