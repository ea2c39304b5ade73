"""What a method can be refused with, as OpenAPI responses: the reasons that its comment names, by their HTTP status."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

from gateway.edge import problems
from servicekit.errors import DomainError
from servicekit.status import family_of

_ROOT = Path(__file__).resolve().parent.parent
_ENUM_FIELD, _VALUE_FIELD = 5, 2
_LISTED = re.compile(r"Errors:\s*(.*)", re.DOTALL)
_REASON = re.compile(r"\b[A-Z]{2,}(?:_[A-Z]+)+\b")
_QUOTED = re.compile(r'"([^"]+)"')
_EVERY = ("REQUEST_INVALID",)
_GUARDED = ("CREDENTIAL_INVALID", "SCOPE_MISSING", "HOST_MISMATCH", "ORIGIN_NOT_ALLOWED")
_OF_THE_EDGE = ("RATE_LIMITED",)
SCHEMA = {"$ref": "#/components/schemas/Problem"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason: its HTTP status in numbers and words, and a detail such as people read."""

    status: int
    title: str
    reason: str
    detail: str

    def document(self) -> dict[str, Any]:
        """Return problem details with this reason."""
        return {
            "type": f"urn:rapport:problem:{self.reason}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
        }


def refusals(files: descriptor_pb2.FileDescriptorSet) -> Mapping[str, Refusal]:
    """Return every reason that a service or the gateway gives, by name."""
    statuses = dict(_statuses())
    found = {
        problem.reason: Refusal(problem.status, problem.title, problem.reason, problem.detail)
        for problem in problems.PROBLEMS
    }
    for reason, meaning in _meanings(files):
        if reason not in statuses:
            # Reasons of images that are not ours (tests bring their own contracts) are nobody's promise here.
            continue
        quoted = _QUOTED.search(meaning.partition("Example:")[2])
        detail = quoted[1] if quoted and quoted[1].endswith(".") else meaning.partition(" Example:")[0]
        found[reason] = Refusal(statuses[reason], HTTPStatus(statuses[reason]).phrase, reason, detail)
    return found


def responses(text: str, known: Mapping[str, Refusal], *, public: bool) -> dict[str, Any]:
    """Return the responses of a method whose comment is `text`, by status, each with its reasons as examples."""
    listed = _REASON.findall(found[1]) if (found := _LISTED.search(text)) else []
    by_status: dict[int, list[Refusal]] = defaultdict(list)
    for reason in dict.fromkeys([*listed, *_EVERY, *(() if public else _GUARDED), *_OF_THE_EDGE]):
        if (refusal := known.get(reason)) is not None:
            by_status[refusal.status].append(refusal)
    return {str(status): _response(by_status[status]) for status in sorted(by_status)}


def _response(refused: list[Refusal]) -> dict[str, Any]:
    return {
        "description": f"Refused: {', '.join(one.reason for one in refused)}.",
        "content": {
            problems.MEDIA_TYPE: {
                "schema": SCHEMA,
                "examples": {one.reason: {"$ref": f"#/components/examples/{one.reason}"} for one in refused},
            }
        },
    }


def _statuses() -> Iterator[tuple[str, int]]:
    """Yield the HTTP status of each reason that an error class of the code has."""
    for folder in ("servicekit", "services", "gateway"):
        for file in sorted((_ROOT / folder).rglob("*.py")):
            if "class " in (source := file.read_text(encoding="utf-8")) and re.search(
                r"^class \w+Error\(", source, re.MULTILINE
            ):
                import_module(".".join(file.relative_to(_ROOT).with_suffix("").parts).removesuffix(".__init__"))
    waiting = DomainError.__subclasses__()
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        error = kind.__new__(kind)
        yield kind.reason, getattr(kind, "http_status", None) or family_of(error).http


def _meanings(files: descriptor_pb2.FileDescriptorSet) -> Iterator[tuple[str, str]]:
    for file in files.file:
        comments = {tuple(one.path): " ".join(one.leading_comments.split()) for one in file.source_code_info.location}
        for number, enum in enumerate(file.enum_type):
            if enum.name == "ErrorReason":
                for index, value in enumerate(enum.value):
                    if value.number:
                        path = (_ENUM_FIELD, number, _VALUE_FIELD, index)
                        yield value.name.removeprefix("ERROR_REASON_"), comments.get(path, "")
