"""What operators run for billing."""
