"""A cloud, a small container platform and an internet, made of Linux network namespaces."""
