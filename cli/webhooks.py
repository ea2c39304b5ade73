"""A captured webhook, read from files and judged by the crm service's own code in a process of its own."""

import json
import subprocess
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.errors import CommandError
from cli.suite.plans import module_command

_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Captured:
    """A request as the provider made it; `headers` are pairs in their order, `url` is the address it called."""

    method: str
    url: str
    headers: list[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)


def read_headers(path: Path) -> list[tuple[str, str]]:
    """Return the headers in a JSON file: an object of texts or lists of texts, or a list of pairs.

    Raises:
        CommandError: the file cannot be read or does not hold that.
    """
    try:
        value = json.loads(_bytes("--headers", path).decode("utf-8-sig"), object_pairs_hook=_Pairs)
    except ValueError as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise CommandError(f"--headers: {path} is not JSON{where}.", reason="USAGE") from error
    pairs: list[Any] = value
    if isinstance(value, _Pairs):
        # A name may stand in an object twice, as a header may come twice.
        pairs = [[name, one] for name, given in value for one in (given if _is_list(given) else [given])]
    elif not isinstance(value, list):
        pairs = [None]
    if not all(_is_list(pair) and len(pair) == len(("name", "value")) and all(map(_is_text, pair)) for pair in pairs):
        raise CommandError(
            f'--headers: {path} must hold an object {{"Name": "value"}}, where a value may be a list of values, or a'
            ' list of pairs [["Name", "value"]].',
            reason="USAGE",
        )
    return [(name, text) for name, text in pairs]


def read_body(path: Path) -> bytes:
    """Return the body in a file, byte for byte.

    Raises:
        CommandError: the file cannot be read.
    """
    return _bytes("--body", path)


def judged(
    provider: str, config: dict[str, str], secrets: list[str], captured: Captured, at: str | None
) -> dict[str, Any]:
    """Return the verdict on a captured request.

    Raises:
        CommandError: it cannot be judged: there is no such provider, or a setting, the secret or the time is wrong.
    """
    question = {
        "provider": provider,
        "config": config,
        "secrets": secrets,
        "method": captured.method,
        "url": captured.url,
        "headers": captured.headers,
        "body": b64encode(captured.body).decode(),
        "at": at or "",
    }
    done = subprocess.run(
        module_command("services.crm.verifying"),
        input=json.dumps(question).encode(),
        capture_output=True,
        timeout=_PATIENCE_SECONDS,
        check=False,
    )
    try:
        told = json.loads(done.stdout)
    except ValueError as error:
        raise CommandError("The code that judges webhooks did not answer.", reason="INTERNAL") from error
    if "error" in told:
        raise CommandError(str(told["error"]), reason="USAGE")
    return dict(told)


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object, names that come twice included."""


def _is_list(value: object) -> bool:
    return isinstance(value, list) and not isinstance(value, _Pairs)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _bytes(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{option}: cannot read {path}: {error.strerror}.", reason="USAGE") from error
