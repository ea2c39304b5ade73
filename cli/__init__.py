"""The `rapport` command: runs the whole suite on one machine and does an operator's work."""
