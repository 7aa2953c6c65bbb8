"""PostgreSQL and Redis for the tests: servers of our own, in folders of their own, that end with the tests."""
