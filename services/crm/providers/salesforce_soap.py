"""Salesforce's outbound messages: SOAP 1.1 in, an acknowledgement out, and what is kept of each notification.

The parser takes no document type and no entities. What is kept is written anew from what was understood, one envelope
for each notification, without the session's id: where Salesforce sends one, it is a live credential.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError, TreeBuilder
from xml.sax.saxutils import escape, quoteattr

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

REDACTED = "REDACTED"
"""What stands in place of a session's id."""

ACK = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b'<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
    b'<notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack></notificationsResponse>'
    b"</soapenv:Body></soapenv:Envelope>"
)
"""The one answer that Salesforce takes for a delivery; everything else it sends again."""

_SOAP = "{http://schemas.xmlsoap.org/soap/envelope/}"
_OUTBOUND = "{http://soap.sforce.com/2005/09/outbound}"
_OBJECT = "{urn:sobject.enterprise.soap.sforce.com}"
_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}", re.ASCII)


MOST_DEPTH = 16
"""How deep elements may lie in each other; those of an outbound message lie six deep."""

MOST_ELEMENTS = 30_000
"""How many elements a document may have: a hundred records with some three hundred fields each."""

MOST_ID = 18
"""The characters of Salesforce's ids; what is longer is none, and is read as empty."""


class ForbiddenXmlError(Exception):
    """The document has what no outbound message has: a document type, entities, or too many or too deep elements."""


class _Bounded(TreeBuilder):
    """Builds a tree as long as it gets neither too deep nor too large, which would take long and help nobody."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = self._elements = 0

    def start(self, tag: str, attrs: dict[str, str]) -> Element:
        self._depth += 1
        self._elements += 1
        if self._depth > MOST_DEPTH or self._elements > MOST_ELEMENTS:
            raise ForbiddenXmlError
        return super().start(tag, attrs)

    def end(self, tag: str) -> Element:
        self._depth -= 1
        return super().end(tag)


@dataclass(frozen=True, slots=True)
class Notification:
    """One record that changed: `kind` is its object's name, `fields` those that the message was set up to send."""

    id: str
    kind: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Notifications:
    """An outbound message."""

    organization: str
    action: str
    notifications: Sequence[Notification]


def read(body: bytes) -> Notifications | None:
    """Return the outbound message that a body is; None when it is none.

    Raises:
        ForbiddenXmlError: it has a document type, entities, bottomless nesting or too many elements, whatever else it
            is.
    """
    parser = DefusedXMLParser(target=_Bounded(), forbid_dtd=True, forbid_entities=True, forbid_external=True)
    try:
        parser.feed(body)
        envelope = parser.close()
    except DefusedXmlException:
        raise ForbiddenXmlError from None
    except (ParseError, ValueError, LookupError):
        # Also encodings that do not exist, or that the body is not in.
        return None
    message = envelope.find(f"{_SOAP}Body/{_OUTBOUND}notifications") if envelope.tag == f"{_SOAP}Envelope" else None
    if message is None:
        return None
    return Notifications(
        # Both are written into every part of the message: what is no id would multiply.
        _id(message.find(f"{_OUTBOUND}OrganizationId")),
        _id(message.find(f"{_OUTBOUND}ActionId")),
        [_notification(each) for each in message.findall(f"{_OUTBOUND}Notification")],
    )


def kept(message: Notifications, notification: Notification) -> bytes:
    """Return an envelope with this notification alone, and nothing of the session."""
    fields = "".join(f"<sf:{name}>{escape(text)}</sf:{name}>" for name, text in notification.fields.items())
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
        '<notifications xmlns="http://soap.sforce.com/2005/09/outbound">'
        f"<OrganizationId>{escape(message.organization)}</OrganizationId>"
        f"<ActionId>{escape(message.action)}</ActionId><SessionId>{REDACTED}</SessionId>"
        f"<Notification><Id>{escape(notification.id)}</Id>"
        '<sObject xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xmlns:sf="urn:sobject.enterprise.soap.sforce.com" xsi:type={quoteattr(f"sf:{notification.kind}")}>{fields}'
        "</sObject></Notification></notifications></soapenv:Body></soapenv:Envelope>"
    ).encode()


def _notification(element: Element) -> Notification:
    record = element.find(f"{_OUTBOUND}sObject")
    if record is None:
        return Notification(_text(element.find(f"{_OUTBOUND}Id")), "", {})
    kind = record.get(_TYPE, "").rpartition(":")[2]
    fields = {
        name: _text(each)
        for each in record
        if each.tag.startswith(_OBJECT) and _NAME.fullmatch(name := each.tag.removeprefix(_OBJECT))
    }
    return Notification(_text(element.find(f"{_OUTBOUND}Id")), kind if _NAME.fullmatch(kind) else "", fields)


def _id(element: Element | None) -> str:
    """Return an id; empty for what is too long for one, of which a part may be somebody else's."""
    text = _text(element)
    return text if len(text) <= MOST_ID else ""


def _text(element: Element | None) -> str:
    return ((element.text if element is not None else None) or "").strip()
