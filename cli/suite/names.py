"""Names that several parts of the suite agree on."""

SERVICES = ("tenant", "crm", "tickets", "recommendations")
"""The services that keep data, in the order in which they start."""

DATABASE = "rapport"
"""The one database; each service has a schema of its own in it."""
