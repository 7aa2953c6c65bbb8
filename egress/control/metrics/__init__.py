"""What Prometheus sees of the control plane: state from the database, and what all workers count, in Redis."""
