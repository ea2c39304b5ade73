"""Benchmarks: each prints ratios against a peer and a limit that are measured in the same run."""
