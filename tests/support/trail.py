"""An audit trail whose entries a test can read."""

from collections.abc import Sequence

from servicekit.audit import AuditTrail, Entry


class KeptEntries:
    """Takes entries as the tenant service does: the first of an id is added, a later one completes its outcome."""

    def __init__(self) -> None:
        self.entries: dict[object, Entry] = {}
        self.error: Exception | None = None

    @property
    def all(self) -> list[Entry]:
        """All entries in the order in which they were first written."""
        return list(self.entries.values())

    async def write(self, entries: Sequence[Entry]) -> None:
        """Take entries, or raise the error that the test set."""
        if self.error is not None:
            raise self.error
        for entry in entries:
            known = self.entries.get(entry.entry_id)
            if known is None or not known.outcome:
                self.entries[entry.entry_id] = entry


def kept_trail() -> tuple[AuditTrail, KeptEntries]:
    """Return a trail and what it has written."""
    kept = KeptEntries()
    return AuditTrail(kept.write), kept
