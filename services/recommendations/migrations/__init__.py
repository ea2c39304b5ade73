"""The schema of the recommendations service, step by step."""
