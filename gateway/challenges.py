"""Challenges of ACME's http-01 (RFC 8555): files that an ACME client drops, served while they stand there."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

# Both are base64url; a key authorisation is the token, a dot, and the account key's thumbprint.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}\Z")
_AUTHORISATION = re.compile(r"[A-Za-z0-9_-]{16,128}\.[A-Za-z0-9_-]{16,128}\Z")
LONGEST = 512
MOST = 100
"""How many challenges are served at once; each ends with its validation, so more are a client that does not tidy up."""


def read(folder: Path) -> Mapping[str, str]:
    """Return the key authorisations by token; what is not one is passed over."""
    try:
        files = sorted((file for file in folder.iterdir() if _TOKEN.match(file.name)), key=_age)
    except FileNotFoundError:
        return MappingProxyType({})
    contents = {file.name: _content(file) for file in files[:MOST]}
    return MappingProxyType({token: text for token, text in contents.items() if _AUTHORISATION.match(text)})


def _age(file: Path) -> float:
    try:
        return -file.stat().st_mtime
    except OSError:
        return 0.0


def _content(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(LONGEST).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
