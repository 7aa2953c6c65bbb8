"""What came in and what it cost to make: for operators and finance, from finished months."""
