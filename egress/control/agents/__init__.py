"""What agents on nodes and gateways tell and ask, and who they are."""
