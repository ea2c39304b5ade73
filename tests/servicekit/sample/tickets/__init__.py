"""A package with migrations, as a service has them; it owns the schema `tickets` of a test's database."""
