"""Conditional requests (RFC 9110): `if-match` guards a write, `if-none-match` saves reading again what is known.

Where an answer has an etag it is also the header of that name. Methods without an etag take no notice of conditions.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

from servicekit.etag import EtagMismatchError, NotModifiedError, quoted, seen
from servicekit.methods import find
from servicekit.pipeline import Call, Handler, Method

_FIELD = "etag"
_LONGEST = 2048


def conditions(method: Method, proceed: Handler) -> Handler:
    """Give the header's condition to a method that knows etags, and its answer's etag to the caller's cache."""
    if method.streams_requests or method.streams_responses:
        return proceed
    descriptor = find(method.service, method.name)
    place = _place(descriptor.input_type)
    tells = _is_text(descriptor.output_type, _FIELD)
    reads = descriptor.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    if place is None and not tells:
        return proceed

    async def handle(call: Call) -> Any:
        conditional = place is not None and _take(call, place)
        try:
            answer = await proceed(call)
        except EtagMismatchError as error:
            if conditional:
                error.http_status = 412
            raise
        if tells and answer.etag:
            if reads and seen(_header(call.metadata, "if-none-match"), answer.etag):
                raise NotModifiedError(answer.etag)
            await call.context.send_initial_metadata(((_FIELD, quoted(answer.etag)),))
        return answer

    return handle


def _place(request: Descriptor) -> tuple[str, ...] | None:
    """Return where a request says which etag it has seen: itself, or the one thing that it wants to change."""
    if _is_text(request, _FIELD):
        return ()
    for field in request.fields:
        if field.message_type is not None and not field.is_repeated and _is_text(field.message_type, _FIELD):
            return (field.name,)
    return None


def _is_text(message: Descriptor, name: str) -> bool:
    field = message.fields_by_name.get(name)
    return field is not None and field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated


def _take(call: Call, place: tuple[str, ...]) -> bool:
    """Put the header's condition into the request; tell whether there was one and the request had none itself."""
    given = _header(call.metadata, "if-match")
    holder: Message = call.request
    for name in place:
        if not holder.HasField(name):
            return False
        holder = getattr(holder, name)
    if not given or getattr(holder, _FIELD):
        return False
    setattr(holder, _FIELD, given)
    return True


def _header(metadata: Mapping[str, str | bytes], name: str) -> str:
    value = metadata.get(name, "")
    return value[:_LONGEST] if isinstance(value, str) else ""
