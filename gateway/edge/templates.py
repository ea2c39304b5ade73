"""Path templates of `google.api.http` as regular expressions (RE2) for Envoy's routes.

The grammar is that of google/api/http.proto: literals, `*`, `**`, `{field}`, `{field=pattern}`, and a `:verb` at the
end.
"""

import re
from dataclasses import dataclass
from os.path import commonprefix

_VERB = re.compile(r":([A-Za-z0-9_-]+)$")
_PART = re.compile(r"\{(?P<field>[\w.]+)(?:=(?P<pattern>[^{}]+))?\}|(?P<literal>[^{}]+)")
_ALTERNATIVES = re.compile(r"\(\?:(.*)\)/\*")
# A character that may be left out or repeated is not certain to be there.
_LITERAL = re.compile(r"(?:(?:[\w/-]|\\\W)(?![?*+{]))*", re.ASCII)
SEGMENT = "[^/]+"
REST = ".+"


@dataclass(frozen=True, slots=True)
class Template:
    """A template as an expression without anchors, and its custom verb without the colon, empty where there is none."""

    expression: str
    verb: str


def translate(template: str) -> Template:
    """Translate a template.

    Raises:
        ValueError: it does not start with a slash or has braces that do not match.
    """
    if not template.startswith("/"):
        raise ValueError(f"the template {template!r} does not start with a slash")
    verb = found.group(1) if (found := _VERB.search(template)) else ""
    path = template.removesuffix(f":{verb}") if verb else template
    out, end = [], 0
    for part in _PART.finditer(path):
        if part.start() != end:
            break
        end = part.end()
        out.append(_pattern(part["literal"] or part["pattern"] or "*"))
    if end != len(path):
        raise ValueError(f"the template {template!r} is malformed")
    return Template("".join(out) + (f":{verb}" if verb else ""), verb)


def fields(template: str) -> list[str]:
    """Return the fields that the template takes from the path, in order."""
    return [part["field"] for part in _PART.finditer(template) if part["field"]]


def _pattern(pattern: str) -> str:
    words = re.split(r"(\*\*|\*)", pattern)
    return "".join({"*": SEGMENT, "**": REST}.get(word) or escape(word) for word in words)


def escape(literal: str) -> str:
    """Return an expression that matches the text and nothing else."""
    return re.escape(literal)


def literal_head(expression: str) -> str:
    """Return the text with which every path begins that an expression of routes matches; it may be empty."""
    several = _ALTERNATIVES.fullmatch(expression)
    heads = [_LITERAL.match(each) for each in (several[1] if several else expression).split("|")]
    # Character by character, as a prefix of text and not of folders.
    return commonprefix([head[0].replace("\\", "") for head in heads if head])  # noqa: RUF071


def origin(pattern: str) -> str:
    """Return an expression for a pattern of web origins, in which `*` stands for one label of the host or the port."""
    return "[A-Za-z0-9-]+".join(escape(part) for part in pattern.split("*"))
