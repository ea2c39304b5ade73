"""Make the OpenAPI 3.1 document of the public API from the descriptor image; with `--check`, say whether it is current.

Paths come from the http rules, schemas from the messages with their comments and protovalidate rules. Names are those
of the protos, as Envoy's transcoder is told to use them.
"""

import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

from gateway.edge import contracts, problems, templates
from tools import openapi_errors, openapi_oauth, openapi_schemas
from tools.openapi_examples import Examples
from tools.openapi_schemas import Messages

ROOT = Path(__file__).resolve().parent.parent
IMAGE = ROOT / "gen" / "rapport.binpb"
TARGET = ROOT / "gateway" / "openapi.json"
PROBLEM = "Problem"
EVENTS = "text/event-stream"
STATUSES = (400, 401, 403, 404, 405, 413, 429, 500, 503, 504)
INTRODUCTION = (
    "The public API of Rapport. Every request needs an API key (`x-api-key`) or an access token (`authorization: "
    "Bearer …`) unless it says otherwise; the shop follows from the credential. Every error is problem details "
    "(RFC 9457) with a `detail` for people and a `reason` for programs. `/v1` is the API for programs: it refuses "
    "query parameters that it does not know. `/api` is the contract of the agents' frontend: it ignores them."
)

# A method that answers with a stored JSON body names in its comment the message that documents the shape.
_BODY = re.compile(r"The body(?: is)?:? `?(rapport\.[\w.]+\w)`?")

NO_BODY = {"200": {"description": "Done."}, "default": {"description": "Refused or failed."}}
"""What HEAD is answered with: a status."""


def build(image: bytes | None = None) -> dict[str, Any]:
    """Return the document; `image` is a descriptor image with comments, by default the repository's."""
    files = contracts.parse(IMAGE.read_bytes() if image is None else image)
    messages = Messages.of(files)
    paths: dict[str, dict[str, Any]] = {}
    known = openapi_errors.refusals(files)
    tags = []
    for file in files.file:
        for index, service in enumerate(file.service):
            operations = list(_operations(messages, known, file, index))
            if operations:
                tags.append({"name": service.name, "description": openapi_schemas.comment(file, 6, index)})
            for path, verb, operation in operations:
                paths.setdefault(path, {})[verb] = operation
    schemas = messages.used_schemas()
    examples = Examples(schemas)
    for verbs in paths.values():
        for operation in verbs.values():
            examples.add(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rapport", "version": "v1", "description": INTRODUCTION},
        "servers": [{"url": "/"}],
        "tags": sorted(tags, key=lambda tag: tag["name"]),
        "security": [{"apiKey": []}, {"bearer": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "A shop's API key."},
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
            "examples": {reason: {"value": one.document()} for reason, one in sorted(known.items())},
            "responses": {PROBLEM: _problem_response()},
            "schemas": {**schemas, PROBLEM: _problem_schema()},
        },
    }


def _operations(
    messages: Messages,
    known_refusals: Mapping[str, openapi_errors.Refusal],
    file: descriptor_pb2.FileDescriptorProto,
    index: int,
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    service = file.service[index]
    for number, method in enumerate(service.method):
        known = contracts.method_of(f"{file.package}.{service.name}", method)
        if known is None:
            continue
        text = openapi_schemas.comment(file, 6, index, 2, number)
        rule = method.options.Extensions[annotations_pb2.http]
        for position, (binding, one) in enumerate(zip(known.bindings, (rule, *rule.additional_bindings), strict=True)):
            operation = {
                "operationId": f"{service.name}_{method.name}{position or ''}",
                "tags": [service.name],
                **_texts(text),
                **_request(messages, method, binding, one.body),
                **_form(f"{service.name}.{method.name}"),
                "responses": {
                    "200": _answer(messages, method, text),
                    **openapi_errors.responses(text, known_refusals, public=known.public),
                    **openapi_oauth.RESPONSES.get(f"{service.name}.{method.name}", {}),
                    "default": {"$ref": _reference(PROBLEM)},
                },
            }
            if known.public:
                operation["security"] = []
            if binding.verb == "HEAD":
                operation["responses"] = NO_BODY
            yield _path(binding.template), binding.verb.lower(), operation


def _path(template: str) -> str:
    return re.sub(r"\{([\w.]+)(?:=[^}]*)?\}", lambda found: f"{{{_in_path(found[1])}}}", template)


def _in_path(name: str) -> str:
    """Return what a field is called in a path: many tools take a dot in a parameter's name for something else."""
    return name.replace(".", "_")


def _reference(response: str) -> str:
    return f"#/components/responses/{response}"


def _texts(text: str) -> dict[str, str]:
    summary = re.split(r"(?<=[.;:])\s", text, maxsplit=1)[0].rstrip(".;:")
    return {"summary": summary, "description": text}


def _request(
    messages: Messages, method: descriptor_pb2.MethodDescriptorProto, binding: contracts.Binding, body: str
) -> dict[str, Any]:
    in_path = templates.fields(binding.template)
    request = messages.message(method.input_type)
    parameters = [
        {"name": _in_path(name), "in": "path", "required": True, **messages.parameter(method.input_type, name)}
        for name in in_path
    ]
    found: dict[str, Any] = {"parameters": parameters}
    if body != "*":
        taken = {*in_path, body}
        parameters += [
            {"name": name, "in": "query", **messages.parameter(method.input_type, name)}
            for name in messages.query_names(method.input_type)
            if name not in taken and name.split(".")[0] != body
        ]
    if body == "*":
        schema = messages.schema(request, without=frozenset(in_path))
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    elif body:
        found["requestBody"] = {"required": True, "content": _content(messages, _field(request, body), in_path)}
    return found if parameters else {key: value for key, value in found.items() if key != "parameters"}


def _form(method: str) -> dict[str, Any]:
    body = openapi_oauth.BODIES.get(method)
    return {} if body is None else {"requestBody": {"required": True, **body}}


def _content(messages: Messages, field: Field, in_path: Collection[str]) -> dict[str, Any]:
    if field.type_name == openapi_schemas.RAW:
        return {"*/*": {"schema": {"description": "Any bytes, taken as they are."}}}
    if taken := frozenset(name.partition(".")[2] for name in in_path if name.startswith(f"{field.name}.")):
        return {"application/json": {"schema": messages.schema(messages.message(field.type_name), without=taken)}}
    return {"application/json": {"schema": messages.field_schema(field)}}


def _field(message: descriptor_pb2.DescriptorProto, name: str) -> Field:
    return next(field for field in message.field if field.name == name)


def _answer(messages: Messages, method: descriptor_pb2.MethodDescriptorProto, text: str) -> dict[str, Any]:
    documented = _BODY.search(text)
    if method.server_streaming and method.output_type == openapi_schemas.RAW:
        return {
            "description": "Events, for as long as both sides want.",
            "content": {EVENTS: {"schema": {"type": "string"}}},
        }
    if method.output_type != openapi_schemas.RAW:
        schema: Mapping[str, Any] = messages.reference(method.output_type)
    elif documented and messages.knows(f".{documented[1]}"):
        schema = messages.reference(f".{documented[1]}")
    else:
        schema = {}
    return {"description": "Done.", "content": {"application/json": {"schema": schema}}}


def _problem_response() -> dict[str, Any]:
    reasons = [problem.reason for problem in problems.PROBLEMS if problem.status in STATUSES]
    return {
        "description": "Refused or failed; the body says why.",
        "content": {
            problems.MEDIA_TYPE: {
                "schema": openapi_errors.SCHEMA,
                "examples": {reason: {"$ref": f"#/components/examples/{reason}"} for reason in reasons},
            }
        },
    }


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    violation = {
        "type": "object",
        "required": ["field", "description"],
        "properties": {
            "field": text | {"description": "The path of the field, with dots."},
            "description": text | {"description": "What is wrong with it."},
        },
    }
    return {
        "type": "object",
        "description": "Problem details (RFC 9457).",
        "required": ["type", "title", "status", "detail", "reason"],
        "properties": {
            "type": text | {"description": "A name for the kind of problem, as a URI."},
            "title": text | {"description": "The status in the standard's words."},
            "status": {"type": "integer", "description": "The HTTP status."},
            "detail": text | {"description": "What happened, for people."},
            "reason": text | {"description": "What happened, for programs; it never changes."},
            "instance": text | {"description": "This one occurrence, as a URI."},
            "violations": {"type": "array", "items": violation, "description": "The fields that break a rule."},
        },
    }


def text() -> str:
    """Return the document as it is committed."""
    return json.dumps(build(), ensure_ascii=False, indent=1, sort_keys=False) + "\n"


def main() -> None:
    """Write the document, or check it."""
    fresh = text()
    if "--check" in sys.argv[1:]:
        if fresh != TARGET.read_text(encoding="utf-8"):
            sys.exit(f"run `make gen`: {TARGET.relative_to(ROOT)} differs from what the protos say")
    else:
        TARGET.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
