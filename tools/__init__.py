"""What `make gen`, `make check` and `make lock` run."""
