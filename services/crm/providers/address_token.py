"""The proof of vendors that sign nothing and send no header of ours: the secret token in the address itself."""

from collections.abc import Sequence

from services.crm.providers.provider import Request, Verdict, WebhookSecret
from services.crm.providers.signatures import proving

RULE = "the last part of the address is the connection's token"
_SIGNED = "nothing; the token alone is compared"


def by_address(request: Request, secrets: Sequence[WebhookSecret]) -> Verdict:
    """Judge a request by the token in the address that was called; only a POST can be a delivery."""
    if request.method != "POST":
        return Verdict.refused("method_not_allowed", signed=_SIGNED, rule=RULE)
    found = proving(secrets, request.token.encode("utf-8", "replace"), lambda text: text.encode("utf-8", "replace"))
    if found is None:
        return Verdict.refused("token_mismatch", signed=_SIGNED, rule=RULE)
    return Verdict.verified_by(found, signed=_SIGNED, rule=RULE)
