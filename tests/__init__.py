"""All tests, by kind."""
