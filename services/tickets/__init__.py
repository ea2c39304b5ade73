"""Tickets: conversations, the inbox and its order, and why a ticket stands where it stands."""
