"""What the provider has, held against what our rows say."""
