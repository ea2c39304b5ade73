"""An operator's calls about a shop's keyword rules, and what a text says."""

import json
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from rapport.tickets.v1 import language_service_pb2, language_service_pb2_grpc

from cli.errors import CommandError
from cli.operator import as_dict, operator_of
from cli.suite.folder import SuiteFolder

_SECONDS = 30
_FIELDS = ("rules", "member_tags", "etag")


async def get_rules(folder: SuiteFolder, tenant: str) -> dict[str, Any]:
    """Return the keyword rules of a shop."""
    return await _ask(folder, tenant, "GetKeywordRules", language_service_pb2.GetKeywordRulesRequest())


async def set_rules(folder: SuiteFolder, tenant: str, wanted: Message) -> dict[str, Any]:
    """Replace the keyword rules of a shop."""
    return await _ask(folder, tenant, "SetKeywordRules", wanted)


async def analyze(folder: SuiteFolder, tenant: str, subject: str, text: str, tags: list[str]) -> dict[str, Any]:
    """Return what a text says to a shop."""
    request = language_service_pb2.AnalyzeTextRequest(subject=subject, text=text, tags=tags)
    return await _ask(folder, tenant, "AnalyzeText", request)


def read_rules(path: Path) -> Message:
    """Return the rules in a JSON file, in the form in which `rapport language rules show --json` prints them.

    Raises:
        CommandError: the file cannot be read or holds something else.
    """
    try:
        given = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}.", reason="USAGE") from error
    except ValueError as error:
        raise CommandError(f"{path} is not JSON.", reason="USAGE") from error
    if not isinstance(given, dict) or "rules" not in given:
        raise CommandError(f"{path} holds no keyword rules.", reason="USAGE")
    try:
        # What only the server says (who changed them, when) may stay in the file.
        known = {name: given[name] for name in _FIELDS if name in given}
        return json_format.ParseDict(known, language_service_pb2.SetKeywordRulesRequest())
    except (json_format.ParseError, TypeError) as error:
        raise CommandError(f"{path} holds no keyword rules.", reason="USAGE") from error


async def _ask(folder: SuiteFolder, tenant: str, method: str, request: Message) -> dict[str, Any]:
    async with operator_of(folder) as operator:
        stub = operator.stub(language_service_pb2_grpc.LanguageServiceStub, "tickets")
        answer = await getattr(stub, method)(request, metadata=await operator.metadata(tenant), timeout=_SECONDS)
        return as_dict(answer)
