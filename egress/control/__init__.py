"""The control plane: what is wanted and observed, and the tasks that bring the one to the other."""
