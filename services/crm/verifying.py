"""Judges a captured webhook offline, by the code that judges those that come in, and says why.

`python -m services.crm.verifying` reads one JSON object on standard input and writes one on standard output, so that
no secret stands in a list of processes. It ends with 0 when it judged, whatever the verdict, and with 2 when it was
asked something that cannot be judged; `rapport webhook verify` is its face for people.
"""

import sys
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from services.crm.allowed import SETTING as ALLOWED_ADDRESSES
from services.crm.connections import WEBHOOK_SECRET
from services.crm.errors import ProviderUnknownError
from services.crm.judging import Decision, Judgement, Step, decide
from services.crm.providers import PROVIDERS, provider_named
from services.crm.providers.provider import Provider, Request, WebhookSecret, judge

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class QuestionError(ValueError):
    """What was asked cannot be judged; the text says why and holds no secret."""


def outcome(
    provider: Provider, config: Mapping[str, str], request: Request, secrets: Sequence[WebhookSecret], now: datetime
) -> Decision:
    """Decide about a request as the inbox does. Never raises, whatever the request holds."""
    return decide(provider, config, request, lambda: Judgement(judge(provider, request, secrets, now)))


def document(decision: Decision) -> dict[str, object]:
    """Return a decision as JSON has it."""
    verdict = decision.judgement.verdict
    return {
        "accepted": decision.step is not Step.REFUSED,
        "reason": verdict.reason,
        "signed": verdict.signed,
        "rule": verdict.rule,
        "secret_version": verdict.secret_version,
    }


def answer(question: Mapping[str, Any]) -> dict[str, object]:
    """Return the verdict on what `question` holds.

    Its members: `provider`, `config` (an object of texts), `secrets` (the versions of the webhook secret, oldest
    first), `headers` (pairs of name and value), `body` (base64), `method`, `url` and `at` (ISO 8601; absent is now).

    Raises:
        QuestionError: the provider is not known, or a member does not fit it.
    """
    try:
        provider = provider_named(question["provider"])
    except ProviderUnknownError as error:
        raise QuestionError(f"There is no provider of that name; known are {', '.join(sorted(PROVIDERS))}.") from error
    config = question["config"]
    for name, value in config.items():
        if name == ALLOWED_ADDRESSES:
            continue  # Where it came from is not captured.
        setting = provider.settings.get(name)
        if setting is None:
            raise QuestionError(f"{provider.name} has no setting '{name}'.")
        if not setting.pattern.fullmatch(value):
            raise QuestionError(f"The setting '{name}' must be {setting.description}.")
    texts = question["secrets"]
    if not texts or not all(texts):
        raise QuestionError(f"Give the secret by which to judge, {WEBHOOK_SECRET}=…")
    secrets = [WebhookSecret(version, text, _LONG_AGO) for version, text in enumerate(texts, start=1)]
    headers = tuple((name.lower(), value.strip(" \t")) for name, value in question["headers"])
    request = Request(question["method"].upper(), question["url"], headers, b64decode(question["body"]))
    return document(outcome(provider, config, request, secrets, _moment(question.get("at") or "")))


def _moment(text: str) -> datetime:
    if not text:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise QuestionError("The time is not ISO 8601, as 2026-11-20T10:00:00Z.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def main() -> None:
    """Judge what standard input holds."""
    told: dict[str, object]
    try:
        told = answer(orjson.loads(sys.stdin.buffer.read()))
    except orjson.JSONDecodeError:
        told = {"error": "What was asked is no text in UTF-8."}
    except QuestionError as error:
        told = {"error": str(error)}
    sys.stdout.buffer.write(orjson.dumps(told))
    sys.exit(2 if "error" in told else 0)


if __name__ == "__main__":
    main()
