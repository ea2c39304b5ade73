"""A consistent whole of all resources."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.ads.resources import CLUSTER, ENDPOINT, EXTENSION, ORDER, ROUTE, SECRET, Resource


class SnapshotInconsistentError(ValueError):
    """The resources do not fit together; the text says which."""


@dataclass(frozen=True)
class Snapshot:
    """All resources of one moment, by type and name, immutable; the versions are hashes of the content.

    The same resources have the same versions in every process and after every restart.
    """

    resources: Mapping[str, Mapping[str, Resource]]
    versions: Mapping[str, str]
    pending: frozenset[str] = frozenset()
    """Extensions that are referred to and not known yet: a client that has one keeps it."""

    @classmethod
    def of(cls, resources: Iterable[Resource]) -> "Snapshot":
        """Make a snapshot.

        Raises:
            SnapshotInconsistentError: a name stands twice, or a reference and what it points at do not match.
        """
        grouped: dict[str, dict[str, Resource]] = {type_url: {} for type_url in ORDER}
        for resource in sorted(resources, key=lambda resource: resource.name):
            if resource.type_url not in grouped:
                raise SnapshotInconsistentError(f"{resource.type_url} is not a type that is served")
            if resource.name in grouped[resource.type_url]:
                raise SnapshotInconsistentError(f"{resource.type_url} {resource.name!r} stands twice")
            grouped[resource.type_url][resource.name] = resource
        pending = _check_references(grouped)
        return cls(
            resources=MappingProxyType({type_url: MappingProxyType(named) for type_url, named in grouped.items()}),
            versions=MappingProxyType({type_url: _digest(named.values()) for type_url, named in grouped.items()}),
            pending=pending,
        )

    @property
    def version(self) -> str:
        """The version of the whole."""
        return hashlib.sha256("".join(self.versions[type_url] for type_url in ORDER).encode()).hexdigest()[:16]

    def all(self) -> list[Resource]:
        """Return every resource, in the order in which types are sent."""
        return [resource for type_url in ORDER for resource in self.resources[type_url].values()]


def _digest(resources: Iterable[Resource]) -> str:
    digest = hashlib.sha256()
    for resource in resources:
        for part in (resource.name, resource.version):
            digest.update(len(part.encode()).to_bytes(8))
            digest.update(part.encode())
    return digest.hexdigest()[:16]


def _check_references(grouped: Mapping[str, Mapping[str, Resource]]) -> frozenset[str]:
    """Return the extensions that are referred to and missing; anything else that does not fit is an error."""
    wanted: dict[str, set[str]] = {type_url: set() for type_url in ORDER}
    for named in grouped.values():
        for resource in named.values():
            for reference in resource.references:
                wanted[reference.type_url].add(reference.name)
    for type_url in (CLUSTER, ENDPOINT, SECRET, ROUTE):
        if missing := wanted[type_url] - grouped[type_url].keys():
            raise SnapshotInconsistentError(f"{type_url}: {sorted(missing)} are referred to and missing")
    # An extension may come later than the listener that waits for it; what nobody refers to is always a mistake.
    for type_url in (ENDPOINT, SECRET, EXTENSION, ROUTE):
        if unused := grouped[type_url].keys() - wanted[type_url]:
            raise SnapshotInconsistentError(f"{type_url}: nothing refers to {sorted(unused)}")
    return frozenset(wanted[EXTENSION] - grouped[EXTENSION].keys())


EMPTY = Snapshot.of(())
"""What is current before anything was published. It is never sent: to have nothing yet is not to take all away."""
