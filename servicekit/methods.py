"""What the contracts say of each method: who may call it."""

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from rapport.options.v1 import options_pb2

_OPEN = frozenset(
    {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection"}
)
"""Services of gRPC itself, which cannot carry our option; both are public."""

QUIET = frozenset({"grpc.health.v1.Health"})
"""Services whose calls are logged at the level debug only."""


class AccessMissingError(Exception):
    """A method says nothing of who may call it; a server must not offer it."""


def find(service: str, name: str) -> MethodDescriptor:
    """Return the descriptor of a method.

    Raises:
        KeyError: the contracts know no such method.
    """
    return descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]


def access_of(service: str, name: str) -> options_pb2.Access:
    """Return who may call the method.

    Raises:
        AccessMissingError: the method has no access option, or one that names neither a scope nor `public`.
    """
    if service in _OPEN:
        return options_pb2.Access(public=True)
    access = find(service, name).GetOptions().Extensions[options_pb2.access]
    if access.WhichOneof("rule") is None or not (access.public or access.scope):
        raise AccessMissingError(f"{service}.{name} has no (rapport.options.v1.access) option")
    return access
