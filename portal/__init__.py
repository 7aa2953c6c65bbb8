"""What people and programs outside see: pages, REST API, and the Django project that holds them together."""
