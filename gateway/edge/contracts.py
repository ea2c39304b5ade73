"""What the descriptor image says about the methods that clients outside may call."""

from collections.abc import Iterator
from dataclasses import dataclass

# Importing these registers the extensions, without which the options of methods would be unknown fields.
from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2
from rapport.options.v1 import options_pb2

FRONTEND = "rapport.frontend.v1."
FRONTEND_OWNERS = {
    FRONTEND + "TicketDesk": "tickets",
    FRONTEND + "Assistant": "recommendations",
    FRONTEND + "KnowledgeBase": "recommendations",
}
"""The services of the frontend's contract belong to no package of their own: who implements which."""

VERBS = ("get", "put", "post", "delete", "patch")
CUSTOM_VERBS = ("HEAD",)
"""HTTP methods for which `google.api.http` has no field of their own."""


class ContractError(ValueError):
    """The descriptor image asks for something that the gateway cannot do."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One way to call a method over REST: an HTTP method in capitals and a path template."""

    verb: str
    template: str


@dataclass(frozen=True, slots=True)
class Method:
    """A method with at least one http rule.

    `owner` is the service (the cluster) that implements it; `safe` says that the contract allows repeating it; `public`
    that it is called without a token.
    """

    service: str
    name: str
    owner: str
    bindings: tuple[Binding, ...]
    safe: bool
    public: bool
    streaming: bool

    @property
    def path(self) -> str:
        """The path over gRPC."""
        return f"/{self.service}/{self.name}"


def parse(image: bytes) -> descriptor_pb2.FileDescriptorSet:
    """Parse a descriptor image with the options of methods understood."""
    return descriptor_pb2.FileDescriptorSet.FromString(image)


def methods(files: descriptor_pb2.FileDescriptorSet) -> list[Method]:
    """Return every method that has an http rule.

    Raises:
        ContractError: a rule uses `response_body`, which Envoy refuses, or a service has no owner.
    """
    return [
        method
        for file in files.file
        for service in file.service
        for one in service.method
        for method in [method_of(f"{file.package}.{service.name}", one)]
        if method is not None
    ]


def method_of(service: str, method: descriptor_pb2.MethodDescriptorProto) -> Method | None:
    """Return what a method of the named service says; None when it has no http rule.

    Raises:
        ContractError: as `methods`.
    """
    if not method.options.HasExtension(annotations_pb2.http):
        return None
    rule = method.options.Extensions[annotations_pb2.http]
    return Method(
        service=service,
        name=method.name,
        owner=owner(service),
        bindings=tuple(_bindings(f"{service}.{method.name}", rule)),
        safe=method.options.idempotency_level != descriptor_pb2.MethodOptions.IDEMPOTENCY_UNKNOWN,
        public=method.options.Extensions[options_pb2.access].public,
        streaming=method.server_streaming or method.client_streaming,
    )


def owner(service: str) -> str:
    """Return who implements a service: `rapport.<owner>.v1.<Service>`, with the frontend's services in a table.

    Raises:
        ContractError: the name has another shape.
    """
    if known := FRONTEND_OWNERS.get(service):
        return known
    parts = service.split(".")
    if (
        len(parts) != len(("rapport", "owner", "v1", "Service"))
        or parts[0] != "rapport"
        or service.startswith(FRONTEND)
    ):
        raise ContractError(f"nobody is known to implement {service}")
    return parts[1]


def transcodable(files: descriptor_pb2.FileDescriptorSet) -> bytes:
    """Return the image as Envoy needs it: without comments, and with its order kept."""
    slim = descriptor_pb2.FileDescriptorSet()
    slim.CopyFrom(files)
    for file in slim.file:
        file.ClearField("source_code_info")
    return slim.SerializeToString(deterministic=True)


def _bindings(name: str, rule: http_pb2.HttpRule) -> Iterator[Binding]:
    for one in (rule, *rule.additional_bindings):
        verb = one.WhichOneof("pattern")
        if verb == "custom" and one.custom.kind in CUSTOM_VERBS:
            binding = Binding(one.custom.kind, one.custom.path)
        elif verb in VERBS:
            binding = Binding(verb.upper(), getattr(one, verb))
        else:
            raise ContractError(f"{name}: the http rule has no HTTP method that the gateway routes")
        if one.response_body:
            raise ContractError(f"{name}: Envoy refuses response_body")
        yield binding
