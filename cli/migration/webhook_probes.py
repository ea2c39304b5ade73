"""A webhook of each helpdesk that the predecessor knew, as its vendor sends it: one that proves itself, and one not."""

import base64
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

_BODY = json.dumps({"probe": "migration", "type": "ping"}).encode()
_JSON = {"content-type": "application/json"}
_ORGANISATION = "00D58000000LTzD"

CONFIGS: Mapping[str, Mapping[str, str]] = {
    "gorgias": {"domain": "probe"},
    "zendesk": {"subdomain": "probe", "account_id": "777"},
    "salesforce": {"org_id": _ORGANISATION},
    "helpshift": {"domain": "probe"},
    "intercom": {"app_id": "probe123", "region": "eu"},
    "freshdesk": {"domain": "probe"},
}
"""What a connection of each provider must be told."""

BY_ADDRESS = frozenset({"salesforce", "helpshift"})
"""Providers that sign nothing: the address of the webhook is the proof."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A request to a webhook's address."""

    url: str
    headers: Mapping[str, str]
    body: bytes


def secret_of(provider: str) -> dict[str, str]:
    """Return a new secret for a connection, under the name that the provider's module has for it."""
    return {} if provider in BY_ADDRESS else {"webhook_secret": f"a{secrets.token_urlsafe(32)}"}


def proven(provider: str, url: str, secret: str) -> Probe:
    """Return a webhook that proves itself with the secret, or by its address where the vendor signs nothing."""
    if provider == "salesforce":
        return Probe(url, {"content-type": "text/xml; charset=UTF-8", "soapaction": '""'}, _outbound())
    if provider == "zendesk":
        time = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        proof = base64.b64encode(hmac.digest(secret.encode(), time.encode() + _BODY, "sha256")).decode()
        signed = {
            "x-zendesk-account-id": CONFIGS[provider]["account_id"],
            "x-zendesk-webhook-id": "01HPROBE",
            "x-zendesk-webhook-invocation-id": secrets.token_hex(13).upper(),
            "x-zendesk-webhook-signature": proof,
            "x-zendesk-webhook-signature-timestamp": time,
        }
        return Probe(url, _JSON | signed, _BODY)
    if provider == "intercom":
        proof = hmac.digest(secret.encode(), _BODY, "sha1").hex()
        return Probe(url, _JSON | {"x-hub-signature": f"sha1={proof}"}, _BODY)
    if provider == "helpshift":
        return Probe(url, _JSON, json.dumps({"domain": "probe", "event_type": "probe"}).encode())
    return Probe(url, _JSON | {"x-webhook-token": secret}, _BODY)


def forged(provider: str, url: str) -> Probe:
    """Return the same with another secret, or at an address that nobody was given."""
    if provider in BY_ADDRESS:
        return proven(provider, url[:-6] + "forged", "")
    return proven(provider, url, secrets.token_urlsafe(32))


def _outbound() -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>'
        '<notifications xmlns="http://soap.sforce.com/2005/09/outbound">'
        f"<OrganizationId>{_ORGANISATION}</OrganizationId><ActionId>04k580000004CAT</ActionId>"
        "<Notification><Id>04l000000000001</Id>"
        '<sObject xsi:type="sf:Case" xmlns:sf="urn:sobject.enterprise.soap.sforce.com"><sf:Id>500000000000001</sf:Id>'
        "</sObject></Notification></notifications></soapenv:Body></soapenv:Envelope>"
    ).encode()
