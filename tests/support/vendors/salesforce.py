"""Salesforce as its documentation says: cases by SOQL, comments, OAuth and JWT, outbound messages in SOAP."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from xml.sax.saxutils import escape

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.crm.providers.salesforce_ids import full_id
from tests.support.vendors.server import Answered, Asked, Route

_BEGINNING = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
_DATA = "/services/data/{version}"
_BY_ID = re.compile(r"WHERE Id = '(\w{18})'$")
_SINCE = re.compile(r"WHERE SystemModstamp >= (\S+) ORDER BY SystemModstamp ASC, Id ASC LIMIT (\d+)$")
_AFTER = re.compile(
    r"WHERE \(SystemModstamp > (\S+) OR \(SystemModstamp = \1 AND Id > '(\w{18})'\)\)"
    r" ORDER BY SystemModstamp ASC, Id ASC LIMIT (\d+)$"
)
_DAILY = 5000


def case_id(number: int) -> str:
    """Return the id of the case of a number, in its 18 characters."""
    made = full_id(f"500{number:012d}")
    assert made is not None
    return made


@dataclass
class SalesforceSimulator:
    """One organisation. `cases` are by id with their `CaseComments` and `EmailMessages`; each change takes a second.

    `has_mail` says whether cases know e-mails, `child_page` how many comments come with a case at once.
    """

    org_id: str = "00D58000000LTzDEAW"
    client_id: str = "3MVGconsumer"
    client_secret: str = "salesforce-consumer-secret"
    refresh_token: str = "salesforce-refresh-token"
    username: str = "rapport@acme.example"
    access_tokens: list[str] = field(default_factory=list)
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    now: datetime = _BEGINNING
    has_mail: bool = True
    child_page: int = 200
    over_limit: bool = False
    used: int = 0
    name: str = "salesforce"

    @cached_property
    def key(self) -> RSAPrivateKey:
        """The key of the connected app's certificate."""
        return generate_private_key(65_537, 2048)

    @property
    def private_key(self) -> str:
        """The key as it is stored: PEM."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @property
    def routes(self) -> Sequence[Route]:
        """The endpoints that Rapport calls."""
        return (
            Route("POST", "/services/oauth2/token", self._token),
            Route("GET", f"{_DATA}/query", self._query),
            Route("GET", f"{_DATA}/query/{{locator}}", self._more),
            Route("PATCH", f"{_DATA}/sobjects/Case/{{case}}", self._update),
            Route("POST", f"{_DATA}/sobjects/CaseComment", self._comment),
        )

    def authorized(self, asked: Asked) -> bool:
        """Accept the newest access token; a token is asked for without."""
        known = [f"Bearer {token}" for token in self.access_tokens[-1:]]
        return asked.path == "/services/oauth2/token" or asked.headers.get("authorization") in known

    def sign(self, _body: bytes, _secret: str, _at: datetime, _url: str) -> Mapping[str, str]:
        """Sign nothing: the address is all there is."""
        return {"content-type": "text/xml; charset=UTF-8", "soapaction": '""'}

    def outbound(self, *cases: str, session: str | None = None, notification: str = "04l00000000000") -> bytes:
        """Return an outbound message about cases; `notification` and a number are their notifications' ids."""
        shown = "<SessionId xsi:nil='true'/>" if session is None else f"<SessionId>{escape(session)}</SessionId>"
        records = "".join(
            f"<Notification><Id>{notification}{number}</Id>"
            '<sObject xsi:type="sf:Case" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">'
            f"<sf:Id>{case}</sf:Id><sf:Subject>{escape(self.cases[case]['Subject'])}</sf:Subject>"
            "</sObject></Notification>"
            for number, case in enumerate(cases)
        )
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
            'xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
            '<soapenv:Body>\n<notifications xmlns="http://soap.sforce.com/2005/09/outbound">'
            f"<OrganizationId>{self.org_id}</OrganizationId><ActionId>04k580000004CAT</ActionId>{shown}"
            "<EnterpriseUrl>https://acme.my.salesforce.com/services/Soap/c/62.0</EnterpriseUrl>"
            "<PartnerUrl>https://acme.my.salesforce.com/services/Soap/u/62.0</PartnerUrl>"
            f"{records}</notifications>\n</soapenv:Body>\n</soapenv:Envelope>"
        ).encode()

    def open_case(self, number: int, subject: str, text: str, **more: Any) -> str:
        """Have a customer open a case by e-mail; return its id."""
        time, case = self._tick(), case_id(number)
        self.cases[case] = {
            "Id": case,
            "Subject": subject,
            "Description": text,
            "Status": "New",
            "IsClosed": False,
            "Priority": "Medium",
            "Origin": "Email",
            "ContactId": "003580000012345AAA",
            "SuppliedEmail": "anna@example",
            "SuppliedName": "Anna",
            "CreatedDate": time,
            "SystemModstamp": time,
            "CaseComments": [],
            "EmailMessages": [],
            **more,
        }
        return case

    def receive(self, case: str, text: str) -> None:
        """Have the customer write an e-mail."""
        held = self.cases[case]
        mail = {"Id": f"02s{len(held['EmailMessages']):015d}", "TextBody": text, "Incoming": True}
        sender = {"FromAddress": "anna@example", "FromName": "Anna", "MessageDate": self._tick()}
        held["EmailMessages"].append(mail | sender)
        held["SystemModstamp"] = sender["MessageDate"]

    def change(self, case: str, **fields: Any) -> None:
        """Have somebody change fields."""
        self.cases[case] |= fields | {"SystemModstamp": self._tick()}

    def _tick(self) -> str:
        self.now += timedelta(seconds=1)
        return self.now.strftime("%Y-%m-%dT%H:%M:%S.000+0000")

    def _answered(self, body: object, status: int = 200) -> Answered:
        return Answered(status, body, {"sforce-limit-info": f"api-usage={self.used}/{_DAILY}"})

    def _refused(self, code: str, status: int = 400) -> Answered:
        return self._answered([{"errorCode": code, "message": "refused"}], status)

    def _token(self, asked: Asked) -> Answered:
        form = asked.form()
        expected = {"client_id": self.client_id, "client_secret": self.client_secret}
        known = form == {"grant_type": "refresh_token", "refresh_token": self.refresh_token, **expected}
        if form["grant_type"].endswith("jwt-bearer"):
            known = self._is_ours(form["assertion"])
        if not known:
            return Answered(400, {"error": "invalid_grant", "error_description": "expired or unknown"})
        self.access_tokens.append(secrets.token_hex(16))
        identity = f"https://login.salesforce.com/id/{self.org_id}/005580000012345AAA"
        return Answered(200, {"access_token": self.access_tokens[-1], "token_type": "Bearer", "id": identity})

    def _is_ours(self, assertion: str) -> bool:
        try:
            claims = jwt.decode(
                assertion,
                self.key.public_key(),
                ["RS256"],
                audience="https://login.salesforce.com",
                issuer=self.client_id,
                options={"require": ["exp", "sub"]},
            )
        except jwt.PyJWTError:
            return False
        return bool(claims["sub"] == self.username)

    def _query(self, asked: Asked) -> Answered:
        query = asked.query["q"]
        if self.over_limit:
            return self._refused("REQUEST_LIMIT_EXCEEDED", 403)
        if query == "SELECT Id FROM Organization":
            return self._answered({"totalSize": 1, "done": True, "records": [{"Id": self.org_id}]})
        if "EmailMessages" in query and not self.has_mail:
            return self._refused("INVALID_FIELD")
        found = self._found(query)
        if found is None:
            return self._refused("MALFORMED_QUERY")
        records = [self._shown(case, mails="EmailMessages" in query) for case in found]
        return self._answered({"totalSize": len(records), "done": True, "records": records})

    def _found(self, query: str) -> list[dict[str, Any]] | None:
        ordered = sorted(self.cases.values(), key=_order)
        if one := _BY_ID.search(query):
            return [case for case in ordered if case["Id"] == one[1]]
        if since := _SINCE.search(query):
            start = _parsed(since[1])
            return [case for case in ordered if _order(case)[0] >= start][: int(since[2])]
        if after := _AFTER.search(query):
            last = (_parsed(after[1]), after[2])
            return [case for case in ordered if _order(case) > last][: int(after[3])]
        return None

    def _shown(self, case: Mapping[str, Any], *, mails: bool) -> dict[str, Any]:
        shown = {name: value for name, value in case.items() if not isinstance(value, list)}
        shown["CaseComments"] = self._children(case, 0) if case["CaseComments"] else None
        if mails:
            sent = case["EmailMessages"]
            shown["EmailMessages"] = {"totalSize": len(sent), "done": True, "records": sent} if sent else None
        return shown

    def _children(self, case: Mapping[str, Any], start: int) -> dict[str, Any]:
        comments, end = case["CaseComments"], start + self.child_page
        page: dict[str, Any] = {
            "totalSize": len(comments),
            "done": end >= len(comments),
            "records": comments[start:end],
        }
        if not page["done"]:
            page["nextRecordsUrl"] = f"/services/data/v62.0/query/{case['Id']}-{end}"
        return page

    def _more(self, asked: Asked) -> Answered:
        case, _, start = asked.found["locator"].partition("-")
        return self._answered(self._children(self.cases[case], int(start)))

    def _update(self, asked: Asked) -> Answered:
        if asked.found["case"] not in self.cases:
            return self._refused("NOT_FOUND", 404)
        self.change(asked.found["case"], **asked.json())
        return self._answered(None, 204)

    def _comment(self, asked: Asked) -> Answered:
        wanted = asked.json()
        held = self.cases.get(wanted["ParentId"])
        if held is None or len(wanted["CommentBody"].encode()) > 4000:
            return self._refused("STRING_TOO_LONG")
        number = f"00a{len(held['CaseComments']):015d}"
        author = {"Name": "Agent", "UserType": "Standard"}
        made = {"Id": number, "CreatedDate": self._tick(), "CreatedBy": author, **wanted}
        held["CaseComments"].append(made)
        held["SystemModstamp"] = made["CreatedDate"]
        return self._answered({"id": number, "success": True, "errors": []}, 201)


def _parsed(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _order(case: Mapping[str, Any]) -> tuple[datetime, str]:
    return (_parsed(case["SystemModstamp"]), case["Id"])
