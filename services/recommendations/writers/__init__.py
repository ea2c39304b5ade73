"""Drafts by a language model: what is sent, what comes back, what it may cost, and the checks that it has to pass."""
