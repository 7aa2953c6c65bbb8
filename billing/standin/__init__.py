"""A stand-in for Stripe over HTTP, for the demo and the tests: stateful, strict, and faulty on demand."""
