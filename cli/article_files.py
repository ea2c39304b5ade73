"""Reads the pages of a folder or of a dump: Markdown, HTML and text files, JSON and JSON Lines.

A page that cannot be read is told with its place and its reason, and keeps no other one away.
"""

import codecs
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rapport.recommendations.v1 import knowledge_service_pb2

from cli.errors import CommandError

Content = knowledge_service_pb2.ArticleContent

MAX_BYTES = 1_000_000
"""The largest page."""
MAX_SOURCE_BYTES = 1_000
"""The longest path or id that a page is known by."""
MAX_DUMP_BYTES = 100_000_000
"""The largest JSON file, which is read as a whole; JSON Lines may be of any length."""

_FORMATS = {
    ".md": Content.FORMAT_MARKDOWN,
    ".markdown": Content.FORMAT_MARKDOWN,
    ".txt": Content.FORMAT_TEXT,
    ".html": Content.FORMAT_HTML,
    ".htm": Content.FORMAT_HTML,
}
_DUMPS = frozenset((".json", ".jsonl", ".ndjson"))
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_CHARSET = re.compile(rb"""charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)
_CHARSET_WITHIN = 2048
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
_TAG = re.compile(r"<(?:p|div|h[1-6]|br|ul|ol|table|span|a|html|body|article|section)\b", re.IGNORECASE)
_BODIES = {
    "html": Content.FORMAT_HTML,
    "markdown": Content.FORMAT_MARKDOWN,
    "text": Content.FORMAT_TEXT,
    "body": None,
    "content": None,
}
_LISTS = ("articles", "pages", "items", "results")


class PageError(Exception):
    """A page that cannot be read, and why."""


@dataclass(slots=True)
class Reading:
    """What all pages of an import have in common, and those that could not be read.

    Attributes:
        kind: article or policy, where a page does not say.
        language: the language, where a page does not say; empty means that it is guessed.
        base_url: where the pages of a folder stand; empty when they stand nowhere.
        encoding: how files are written that are not UTF-8; empty means that such files are refused.
        refused: the pages that could not be read: source and reason.
    """

    kind: str = "article"
    language: str = ""
    base_url: str = ""
    encoding: str = ""
    refused: list[tuple[str, str]] = field(default_factory=list)

    def pages(self, path: Path) -> Iterator[Content]:
        """Yield the pages of a folder, a file or a dump.

        Raises:
            CommandError: there is nothing that can be read.
        """
        if path.is_dir():
            for each in sorted(path.rglob("*")):
                inner = each.relative_to(path)
                hidden = any(part.startswith(".") for part in inner.parts)
                if each.suffix.lower() in _FORMATS and not hidden and _is_within(each, path):
                    yield from self._taken(inner.as_posix(), lambda each=each, inner=inner: [self._page(each, inner)])
        elif not path.is_file():
            raise CommandError(f"{path} is not there.", reason="USAGE")
        elif path.suffix.lower() in _FORMATS:
            yield from self._taken(path.name, lambda: [self._page(path, Path(path.name))])
        elif path.suffix.lower() in _DUMPS:
            yield from self._dump(path)
        else:
            known = ", ".join(sorted((*_FORMATS, *_DUMPS)))
            raise CommandError(f"{path.name} is none of {known}, and no folder of such files.", reason="USAGE")

    def _taken(self, source: str, read: Any) -> Iterator[Content]:
        try:
            yield from read()
        except PageError as error:
            self.refused.append((source, str(error)))
        except UnicodeEncodeError:
            self.refused.append((source, "it holds half a character"))
        except OSError as error:
            self.refused.append((source, f"it cannot be read: {error.strerror}"))

    def _page(self, path: Path, inner: Path) -> Content:
        """Return the page of a file."""
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise PageError(f"{size:,} bytes; a page has at most {MAX_BYTES:,}")
        form = _FORMATS[path.suffix.lower()]
        text = _decoded(path.read_bytes(), self.encoding, html=form == Content.FORMAT_HTML)
        said = _front_matter(text) if form == Content.FORMAT_MARKDOWN else {}
        url = ""
        if self.base_url:
            place = inner.with_suffix("") if form != Content.FORMAT_HTML else inner
            parts = place.parent if place.name in {"index.html", "index.htm", "index"} else place
            url = self.base_url.rstrip("/") + "/" + parts.as_posix().removeprefix(".")
        return self._content(inner.as_posix(), text, form, {"url": url, **said})

    def _dump(self, path: Path) -> Iterator[Content]:
        """Yield the pages of a JSON or a JSON Lines file."""
        if path.suffix.lower() == ".json":
            size = path.stat().st_size
            if size > MAX_DUMP_BYTES:
                raise CommandError(
                    f"{path.name} has {size:,} bytes; as JSON it may have {MAX_DUMP_BYTES:,}: use JSON Lines.",
                    reason="USAGE",
                )
            try:
                found = json.loads(_decoded(path.read_bytes(), self.encoding, html=False))
            except (ValueError, RecursionError, PageError) as error:
                raise CommandError(f"{path.name} cannot be read: {error}.", reason="USAGE") from error
            if isinstance(found, dict):
                found = next((found[name] for name in _LISTS if isinstance(found.get(name), list)), [found])
            entries = enumerate(found if isinstance(found, list) else [found], start=1)
            for number, entry in entries:
                yield from self._taken(f"entry {number}", lambda entry=entry: [self._entry(entry)])
            return
        with path.open("rb") as lines:
            number = 0
            while line := lines.readline(2 * MAX_BYTES):
                number += 1
                if line.strip():
                    yield from self._taken(f"line {number}", lambda line=line: [self._line(line)])
                while line and not line.endswith(b"\n"):
                    line = lines.readline(2 * MAX_BYTES)

    def _line(self, line: bytes) -> Content:
        if len(line) >= 2 * MAX_BYTES:
            raise PageError(f"more than {2 * MAX_BYTES:,} bytes")
        try:
            return self._entry(json.loads(_decoded(line, self.encoding, html=False)))
        except (ValueError, RecursionError) as error:
            raise PageError(f"no JSON: {error}") from error

    def _entry(self, entry: Any) -> Content:
        """Return the page of an object of a dump."""
        if not isinstance(entry, dict):
            raise PageError("no object")
        name = next((name for name in _BODIES if isinstance(entry.get(name), str) and entry[name].strip()), None)
        if name is None:
            raise PageError(f"no text in any of {', '.join(_BODIES)}")
        text = entry[name]
        form = _BODIES[name] or (Content.FORMAT_HTML if _TAG.search(text) else Content.FORMAT_MARKDOWN)
        url = next((str(entry[key]) for key in ("url", "html_url", "link", "loc") if entry.get(key)), "")
        source = next((str(entry[key]) for key in ("source", "id", "path") if entry.get(key)), "") or url
        if not source:
            raise PageError("neither source nor id nor url")
        language = str(entry.get("language") or entry.get("lang") or entry.get("locale") or "")
        return self._content(source, text, form, {**_texts(entry), "url": url, "language": language})

    def _content(
        self,
        source: str,
        text: str,
        form: "knowledge_service_pb2.ArticleContent.Format.ValueType",
        said: Mapping[str, str],
    ) -> Content:
        if len(source.encode()) > MAX_SOURCE_BYTES:
            raise PageError(f"its name has {len(source.encode()):,} bytes; it may have {MAX_SOURCE_BYTES:,}")
        if len(text.encode()) > MAX_BYTES:
            raise PageError(f"{len(text.encode()):,} bytes; a page has at most {MAX_BYTES:,}")
        return Content(
            source=source,
            body=text,
            format=form,
            kind=said.get("kind") or self.kind,
            title=" ".join(said.get("title", "").split())[:300],
            url=said.get("url", ""),
            language=(said.get("language") or self.language)[:2].lower(),
            status=said.get("status", ""),
        )


def _texts(said: Mapping[str, Any]) -> dict[str, str]:
    """Return what a page says of itself; as `draft: true` and `published: false` it is no page for customers."""
    names = ("title", "url", "language", "kind", "status")
    hidden = {"status": "draft"} if said.get("draft") is True or said.get("published") is False else {}
    return {**hidden, **{name: str(said[name]) for name in names if isinstance(said.get(name), str | int)}}


def _is_within(path: Path, folder: Path) -> bool:
    """Tell whether there is a file that stands within a folder, and no link that leads out of it."""
    try:
        return path.resolve(strict=True).is_relative_to(folder.resolve()) and path.is_file()
    except (OSError, RuntimeError):
        # What cannot even be looked at is told as a page that cannot be read; a broken link is none.
        return not os.path.islink(path)  # noqa: PTH114 - Path.is_symlink raises where it may not look


def _front_matter(text: str) -> dict[str, str]:
    """Return what stands at the head of a Markdown page between two lines of dashes."""
    found = _FRONT_MATTER.match(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    if found is None:
        return {}
    try:
        said = yaml.safe_load(found[1])
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise PageError("the lines at its head are no YAML") from error
    return _texts(said) if isinstance(said, dict) else {}


def _decoded(data: bytes, encoding: str, *, html: bool) -> str:
    """Return the text of bytes: by their byte order mark, as UTF-8, as the page itself says, or as the operator does.

    Raises:
        PageError: it is written otherwise; it names the first line that cannot be read.
    """
    for mark, name in _BOMS.items():
        if data.startswith(mark):
            return _strictly(data, name)
    if b"\x00" in data:
        raise PageError("not a text: it holds the byte 0")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        declared = _CHARSET.search(data[:_CHARSET_WITHIN]) if html else None
        name = encoding or (declared[1].decode("ascii") if declared else "")
        if not name or name.lower().replace("-", "") == "utf8":
            where = f"line {data.count(bytes([10]), 0, error.start) + 1}: byte 0x{data[error.start]:02x}"
            raise PageError(f"{where} is no UTF-8; name the encoding with --encoding") from error
    return _strictly(data, name)


def _strictly(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except LookupError as error:
        raise PageError(f"there is no encoding {encoding}") from error
    except UnicodeError as error:
        raise PageError(f"it is not written in {encoding}") from error
