"""The rules of the contract: bytes become messages here, and a message that breaks a rule goes no further."""

from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any

import protovalidate
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from servicekit.errors import FieldViolation, RequestInvalidError
from servicekit.pipeline import Call, Handler, Method


def validation(method: Method, proceed: Handler) -> Handler:
    """Parse and check each message that the caller sends."""
    check = checker(method)

    if method.streams_requests:

        async def handle_stream(call: Call) -> Any:
            call.request = _checked(call.request, check)
            return await proceed(call)

        return handle_stream

    async def handle(call: Call) -> Any:
        call.request = check(call.request)
        return await proceed(call)

    return handle


def checker(method: Method) -> Callable[[bytes], Message]:
    """Return the function that makes a checked message of bytes."""
    validator = protovalidate.Validator()
    parse = method.parse

    def check(data: bytes) -> Message:
        try:
            message = parse(data)
        except (DecodeError, UnicodeDecodeError) as error:
            raise RequestInvalidError("The request is not a message of the type that the method takes.") from error
        violations = [
            FieldViolation(
                path_of(violation.proto.field), violation.proto.message or "is not valid", violation.proto.rule_id or ""
            )
            for violation in validator.collect_violations(message)
        ]
        # Postgres cannot store the character NUL. A message without a zero byte, which is nearly each, has none.
        if b"\x00" in data:
            violations += [
                FieldViolation(path, "must not contain the character NUL", "string.no_nul")
                for path in strings_with_nul(message)
            ]
        if violations:
            first = violations[0]
            detail = f"{first.field}: {first.description}" if first.field else first.description
            raise RequestInvalidError(f"The request is not valid: {detail}.", violations=violations)
        return message

    return check


async def _checked(requests: AsyncIterable[bytes], check: Callable[[bytes], Message]) -> AsyncIterator[Message]:
    """Yield each message of a caller's stream after its check."""
    async for data in requests:
        yield check(data)


def path_of(field: Any) -> str:
    """Return a field path of protovalidate in dotted form: `ticket.labels[2]`."""
    parts: list[str] = []
    for element in field.elements if field is not None else ():
        text = element.field_name or ""
        subscript = getattr(element, "subscript", None)
        if subscript is not None:
            text += f"[{getattr(subscript, 'value', subscript)}]"
        parts.append(text)
    return ".".join(parts)


def strings_with_nul(message: Message, prefix: str = "") -> list[str]:
    """Return the paths of the string fields that contain NUL, at any depth; keys and values of maps included."""
    found: list[str] = []
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            items = [*value.keys(), *value.values()]
        elif field.is_repeated:
            items = list(value)
        else:
            items = [value]
        for item in items:
            if isinstance(item, str):
                if "\x00" in item:
                    found.append(path)
            elif isinstance(item, Message):
                found += strings_with_nul(item, f"{path}.")
    return found
