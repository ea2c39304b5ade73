"""Whether a request speaks of somebody: by the ids and addresses that are known of them, in its decoded body.

An address counts wherever it stands as a whole address. An id counts as a whole value only, and one that could be
anything (a number, a word) only where its name says that it is a person's: `requester_id`, `customer.id`. A body that
nothing decodes is one value without a name.
"""

import html
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote
from xml.etree.ElementTree import Element, ParseError

import orjson
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from services.crm.providers.provider import Request

MAX_PLACE = 200
"""How much is told of where a mention stands, in characters."""

_PERSONS = frozenset(
    (
        *("actor", "author", "buyer", "by", "client", "consumer", "contact", "creator", "customer", "from", "guest"),
        *("lead", "member", "person", "profile", "recipient", "reporter", "requester", "requestor", "sender"),
        *("shopper", "submitter", "subscriber", "to", "user", "visitor"),
    )
)
_GENERIC = frozenset(("external", "id", "key", "no", "number", "ref", "reference", "uid", "uuid", "value"))
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_TYPED = re.compile(r"(?:.*[:/])?([A-Za-z]+)[:/]([^:/]+)", re.DOTALL)
_SURE_LENGTH = 8
_NAMES_KEPT = 8  # of those around a value: a deep body must not cost the square of its depth
_FORM = "application/x-www-form-urlencoded"

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mention:
    """What was found, and where: the names that lead to it, with dots between them; empty for a whole body."""

    text: str = field(repr=False)
    place: str


class Mentions:
    """Finds texts in requests; those with an @ are addresses, all others ids."""

    def __init__(self, texts: Collection[str]) -> None:
        wanted = sorted({text.strip() for text in texts} - {""})
        self._ids = frozenset(text for text in wanted if "@" not in text)
        self._addresses = {text.casefold(): text for text in wanted if "@" in text}
        either = "|".join(re.escape(address) for address in sorted(self._addresses, key=len, reverse=True))
        # No part of a longer address: hanna-anna@example.com and anna@example.com.au are other people's.
        self._pattern = re.compile(rf"(?<![\w+%-])(?<!\w\.)(?:{either})(?![\w@%+]|[.-]\w)") if either else None

    def __bool__(self) -> bool:
        return bool(self._ids or self._addresses)

    def find(self, request: Request) -> Mention | None:
        """Return the first mention in the body or in a kept header, None when there is none."""
        for names, value, beside_address in _values(request):
            found = self._address_in(value) or self._id_of(names, value, person=beside_address)
            if found is not None:
                return Mention(found, ".".join(names)[:MAX_PLACE])
        return None

    def _address_in(self, value: str) -> str | None:
        if self._pattern is None:
            return None
        for form in {value, unquote(value), html.unescape(value)}:
            if found := self._pattern.search(form.casefold()):
                return self._addresses[found.group()]
        return None

    def _id_of(self, names: Names, value: str, *, person: bool) -> str | None:
        """Return the id that a value is, also one that says of what: zen:user:17, gid://shopify/Customer/17."""
        if value in self._ids and (person or is_sure(value) or is_persons(names)):
            return value
        typed = _TYPED.fullmatch(value) if len(value) <= MAX_PLACE else None
        if typed is not None and typed[2] in self._ids and is_persons((typed[1],)):
            return typed[2]
        return None


def is_sure(text: str) -> bool:
    """Return whether an id can hardly be anything else by chance: long, and of letters and digits."""
    return len(text) >= _SURE_LENGTH and any(map(str.isdigit, text)) and any(map(str.isalpha, text))


def is_persons(names: Names) -> bool:
    """Return whether the last name that says anything speaks of a person: `last_order_id` of a customer does not."""
    for name in reversed(names):
        words = [word.lower().removesuffix("s") for word in _WORDS.findall(name)]
        telling = [word for word in words if word not in _GENERIC and not word.isdigit()]
        if telling:
            return telling[-1] in _PERSONS
    return False


def _values(request: Request) -> Iterator[tuple[Names, str, bool]]:
    """Yield all values with their names, and whether each is the id of something that has an e-mail address."""
    for name, header in request.headers:
        yield (name,), header, False
    text = request.body.decode("utf-8", "replace")
    yield from _of_json(_decoded(request, text))


def _decoded(request: Request, text: str) -> Any:
    """Return what a body holds, as JSON would; the text itself when it is of no form that we know."""
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith("<"):
        try:
            return _of_element(fromstring(request.body, forbid_dtd=True))
        except (ParseError, DefusedXmlException, ValueError, LookupError):
            return text
    if (request.header("content-type") or "").partition(";")[0].strip().lower() == _FORM:
        return [{name: value} for name, value in parse_qsl(text, keep_blank_values=True)]
    try:
        return orjson.loads(start)
    except orjson.JSONDecodeError:
        return text


def _of_element(root: Element) -> Any:
    """Return a document as a list of single values, each in an object for each element around it but the root."""
    found: list[dict[str, Any]] = []
    waiting: list[tuple[Element, Names]] = [(root, ())]
    while waiting:
        element, names = waiting.pop()
        texts = [("", element.text or ""), ("", element.tail or ""), *element.attrib.items()]
        for name, text in texts:
            if text.strip():
                found.append({_path((*names, name)): text.strip()})
        waiting += [(child, (*names, child.tag.rpartition("}")[2])[-_NAMES_KEPT:]) for child in element]
    return found


def _path(names: Names) -> str:
    return ".".join(name for name in names if name)


def _of_json(content: Any) -> Iterator[tuple[Names, str, bool]]:
    """Yield the values in decoded JSON, also in JSON that stands in a text; its depth costs no stack."""
    waiting: list[tuple[Names, Any, bool]] = [((), content, False)]
    while waiting:
        names, value, beside_address = waiting.pop()
        if isinstance(value, dict):
            person = any("email" in name.lower() for name in value)
            for name, inner in value.items():
                waiting.append(((*names, name)[-_NAMES_KEPT:], inner, person and name == "id"))
        elif isinstance(value, list):
            waiting += [(names, inner, False) for inner in value]
        elif isinstance(value, str):
            yield names, value, beside_address
            if value[:1] in ("{", "[") and (inner := _parsed(value)) is not None:
                waiting.append((names, inner, False))
        elif isinstance(value, int) and not isinstance(value, bool):
            yield names, str(value), beside_address


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
