"""What a rotation of keys is: its kinds, its states, and how far it has come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

KEK = "kek"
"""Every tenant's newest data key is wrapped anew; the target is the name of the key-encryption key."""

DATA_KEYS = "data_keys"
"""Every tenant gets a new data key, and its secrets are sealed anew; there is no target."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """A rotation over all tenants; `state` is running, done, failed or superseded.

    `done` and `failed` count tenants of the `total` there were when it began; `problem` is the reason of the last thing
    that stood in its way, empty when nothing does.
    """

    id: UUID
    kind: str
    state: str
    target: str
    total: int
    done: int
    failed: int
    problem: str
    created: datetime
    updated: datetime
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """Which key-encryption key wraps how many tenants' data keys, and the latest rotations.

    `older` counts the data keys that are kept, wrapped by newer ones, for what is still sealed under them.
    """

    active: str
    uses: Mapping[str, int]
    older: int
    rotations: Sequence[Rotation]
