"""What both peers must do with a Zendesk webhook before they believe it."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime, timedelta

TOLERANCE = timedelta(minutes=5)


def judge(headers: Mapping[str, str], body: bytes, secret: str, now: datetime) -> bytes | None:
    """Return the deduplication key of a webhook that is authentic and fresh, else None."""
    timestamp = headers.get("x-zendesk-webhook-signature-timestamp", "")
    given = headers.get("x-zendesk-webhook-signature", "")
    expected = base64.b64encode(hmac.digest(secret.encode(), timestamp.encode() + body, "sha256")).decode()
    if not hmac.compare_digest(given, expected):
        return None
    if abs(now - datetime.fromisoformat(timestamp)) > TOLERANCE:
        return None
    return hashlib.sha256(str(json.loads(body)["id"]).encode()).digest()


def kept(headers: Mapping[str, str], body: bytes) -> bytes:
    """Return what is stored of a webhook: the headers that its signature needs, and its bytes as they came."""
    names = sorted(name for name in headers if name.startswith("x-zendesk-"))
    return json.dumps({name: headers[name] for name in names}).encode() + b"\n" + body
