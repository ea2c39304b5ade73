"""Customers, their orders and profiles, next best actions and draft answers."""
