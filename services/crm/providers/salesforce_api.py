"""Calling Salesforce: cases with their comments and e-mails, priority, internal and published comments.

All calls go to the organisation's own host, the token endpoint too. Salesforce has no tags on cases. A reply is a
comment that is published: the customer sees it in the portal, and by e-mail where the organisation has it so.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import jwt

from services.crm.events import Event, Priority
from services.crm.providers.api import (
    AddNote,
    ApiError,
    Call,
    Change,
    Changes,
    Config,
    CredentialField,
    Credentials,
    CredentialShape,
    Pace,
    Renewed,
    Reply,
    SendReply,
    SetPriority,
    Steps,
)
from services.crm.providers.logins import bearer, complete, no_credentials, setting
from services.crm.providers.markup import holds, watermark
from services.crm.providers.replies import object_in
from services.crm.providers.salesforce_cases import case_events
from services.crm.providers.salesforce_ids import PLAIN, full_id
from services.crm.providers.signatures import json_value, list_of, object_of, text_of, time_of

PAGE = 50
"""How many cases a page of changes has; they come with their comments and e-mails."""

VERSION = "v62.0"
"""The version of the API that is called."""

MOST_COMMENT_BYTES = 4000
"""The bytes of a case's comment."""

_CASE = "500"
_DATA = f"/services/data/{VERSION}"
_TOKEN = "/services/oauth2/token"  # noqa: S105 - an address
_JWT_LIFETIME = timedelta(minutes=3)
_NO_CASE = frozenset({404})
_REFUSED = frozenset({400})
_SPOILED = frozenset({400, 401})
_OVER_LIMIT = 403
_OVER_LIMIT_REST = 900.0
_DAY = 86_400.0
_USAGE = re.compile(r"api-usage=([0-9]{1,9})/([0-9]{1,9})", re.ASCII)
_CURSOR = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)/(500[A-Za-z0-9]{15})", re.ASCII)
_UNKNOWN = frozenset({"INVALID_TYPE", "INVALID_FIELD"})

_FIELDS = (
    "Id,Subject,Description,Status,IsClosed,Priority,Origin,ContactId,SuppliedEmail,SuppliedName,CreatedDate,"
    "SystemModstamp,(SELECT Id,CommentBody,IsPublished,CreatedDate,CreatedBy.Name,CreatedBy.UserType FROM CaseComments)"
)
# An organisation without e-mail for cases has no such object.
_MAILS = ",(SELECT Id,TextBody,HtmlBody,Incoming,MessageDate,FromAddress,FromName FROM EmailMessages)"

_WORDS: Mapping[Priority, str] = MappingProxyType({"urgent": "High", "high": "High", "normal": "Medium", "low": "Low"})

_INSTANCE = CredentialField("instance_url", secret=False, description="https://….my.salesforce.com")
_CLIENT = CredentialField("client_id", secret=False, description="the connected app's consumer key")
_REFRESH = CredentialShape(
    "oauth",
    (
        _INSTANCE,
        _CLIENT,
        CredentialField("client_secret", secret=True, description="the connected app's consumer secret"),
        CredentialField("refresh_token", secret=True, description="the refresh token of the web server flow"),
    ),
)
_JWT = CredentialShape(
    "jwt",
    (
        _INSTANCE,
        _CLIENT,
        CredentialField("username", secret=False, description="the user to log in as"),
        CredentialField("audience", secret=False, description="login.salesforce.com or test.salesforce.com"),
        CredentialField("private_key", secret=True, description="the RSA key (PEM) of the connected app's certificate"),
    ),
)


def _now() -> datetime:
    return datetime.now(UTC)


class SalesforceApi:
    """Salesforce's REST API. `clock` dates the assertions by which JWT logs in."""

    shapes: Sequence[CredentialShape] = (_REFRESH, _JWT)
    apexes = frozenset({"salesforce.com", "force.com"})
    can: frozenset[type[Change]] = frozenset({SetPriority, AddNote, SendReply})

    def __init__(self, clock: Callable[[], datetime] = _now) -> None:
        self._clock = clock

    def origin(self, config: Config) -> str:
        """Return the organisation's own host."""
        return setting(config, "instance_url")

    def authorization(self, _config: Config, credentials: Credentials) -> Mapping[str, str]:
        """Log in by the access token."""
        if token := credentials.get("access_token"):
            return bearer(token)
        raise no_credentials()

    def renew(self, config: Config, credentials: Credentials) -> Steps[Renewed] | None:
        """Get an access token by the refresh token, else by an assertion that is signed with the private key."""
        if complete(_REFRESH, config, credentials):
            form = {
                "grant_type": "refresh_token",
                "client_id": config["client_id"],
                "client_secret": credentials["client_secret"],
                "refresh_token": credentials["refresh_token"],
            }
            return _renew(config, lambda: form)
        if complete(_JWT, config, credentials):
            return _renew(config, lambda: self._assertion(config, credentials["private_key"]))
        return None

    def account(self, config: Config) -> Steps[str]:
        """Ask for the organisation's id, and return it as it is spelt in the settings when it is the same."""
        reply = yield Call("GET", f"{_DATA}/query", query=(("q", "SELECT Id FROM Organization"),), repeatable=True)
        records = list_of(object_in(reply).get("records"))
        found = text_of(object_of(next(iter(records), None)).get("Id"))
        return _spelt(found, config)

    def ticket(self, _config: Config, ticket: str) -> Steps[Sequence[Event]]:
        """Fetch a case with its comments and e-mails."""
        return (yield from _case_events((yield from _fetch(ticket))))

    def changes(self, _config: Config, since: datetime, cursor: str | None) -> Steps[Changes]:
        """Read a page of the cases that changed since a time, in that order; within a second by their ids."""
        time = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        where = f"SystemModstamp >= {time}"
        if cursor is not None:
            found = _CURSOR.fullmatch(cursor)
            if found is None:
                raise ApiError("CURSOR_INVALID", "the cursor is not one of this walk")
            where = f"(SystemModstamp > {found[1]} OR (SystemModstamp = {found[1]} AND Id > '{found[2]}'))"
        cases = yield from _query(f"{where} ORDER BY SystemModstamp ASC, Id ASC LIMIT {PAGE}")
        events: list[Event] = []
        for case in cases:
            events += yield from _case_events(case)
        last = cases[-1] if len(cases) >= PAGE else {}
        stamp = time_of(last.get("SystemModstamp"))
        return Changes(events, f"{stamp.strftime('%Y-%m-%dT%H:%M:%SZ')}/{text_of(last.get('Id'))}" if stamp else None)

    def write(self, _config: Config, ticket: str, change: Change) -> Steps[bool]:
        """Make a change, after looking whether it is there.

        Raises:
            ApiError: it is a tag (`CHANGE_NOT_POSSIBLE`), among what all steps raise.
        """
        case = yield from _fetch(ticket)
        path = f"{_DATA}/sobjects/Case/{text_of(case.get('Id'))}"
        if isinstance(change, SetPriority):
            word = _WORDS[change.priority]
            if text_of(case.get("Priority")).lower() == word.lower():
                return False
            yield Call("PATCH", path, json={"Priority": word}, repeatable=True)
            return True
        if not isinstance(change, AddNote | SendReply):
            raise ApiError("CHANGE_NOT_POSSIBLE", "cases have no tags")
        comments = yield from _children(case, "CaseComments")
        if any(holds(text_of(comment.get("CommentBody")), change.marker) for comment in comments):
            return False
        published = isinstance(change, SendReply)
        mark = watermark(change.marker) if published else f"\n\n{change.marker}"
        body = {
            "ParentId": text_of(case.get("Id")),
            "CommentBody": _cut(change.text, MOST_COMMENT_BYTES - len(mark.encode())) + mark,
            "IsPublished": published,
        }
        yield Call("POST", f"{_DATA}/sobjects/CaseComment", json=body)
        return True

    def pace(self, reply: Reply) -> Pace | None:
        """Read how many calls of the day are left; over the limit a 403 says so, and it ends bit by bit."""
        if reply.status == _OVER_LIMIT and "REQUEST_LIMIT_EXCEEDED" in _error_codes(reply):
            return Pace(0, _OVER_LIMIT_REST)
        found = _USAGE.search(reply.headers.get("sforce-limit-info", ""))
        return Pace(max(0, int(found[2]) - int(found[1])), _DAY) if found else None

    def _assertion(self, config: Config, private_key: str) -> Mapping[str, str]:
        """Return the form of the JWT bearer flow.

        Raises:
            ApiError: the key is none (`CREDENTIALS_REFUSED`).
        """
        claims = {
            "iss": config["client_id"],
            "sub": config["username"],
            "aud": f"https://{config['audience']}",
            "exp": int((self._clock() + _JWT_LIFETIME).timestamp()),
        }
        try:
            assertion = jwt.encode(claims, private_key, "RS256")
        except (ValueError, TypeError, jwt.PyJWTError):
            raise ApiError("CREDENTIALS_REFUSED", "the private key is no RSA key in PEM form") from None
        return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}


def _renew(config: Config, form: Callable[[], Mapping[str, str]]) -> Steps[Renewed]:
    """Ask for an access token, and look whose organisation it is for: its `id` ends with organisation and user."""
    reply = yield Call("POST", _TOKEN, form=tuple(form().items()), expects=_SPOILED, repeatable=True)
    if reply.status in _SPOILED:
        raise ApiError("CREDENTIALS_REFUSED", "Salesforce gives no access token for these credentials")
    answer = object_in(reply)
    token = text_of(answer.get("access_token"))
    if not token:
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "there is no access token in the answer")
    organization = text_of(answer.get("id")).rpartition("/")[0].rpartition("/")[2]
    expected = config.get("org_id", "")
    if expected and _spelt(organization, config) != expected:
        raise ApiError("ACCOUNT_MISMATCH", "the credentials belong to another organisation")
    tokens = {"access_token": token, "refresh_token": text_of(answer.get("refresh_token"))}
    return Renewed({name: text for name, text in tokens.items() if text})


def _spelt(organization: str, config: Config) -> str:
    """Return an organisation's id in the spelling of the settings when it is the one there, else as given."""
    expected = config.get("org_id", "")
    return expected if expected and expected[:PLAIN] == organization[:PLAIN] else organization


def _fetch(ticket: str) -> Steps[Mapping[str, Any]]:
    case = full_id(ticket, _CASE)
    cases = (yield from _query(f"Id = '{case}'")) if case else []
    if not cases:
        raise ApiError("TICKET_NOT_FOUND")
    return cases[0]


def _query(condition: str) -> Steps[list[Mapping[str, Any]]]:
    """Return the cases that meet a condition, with their comments, and with e-mails where there is such a thing.

    The condition is made of checked ids and times alone.
    """
    for fields in (_FIELDS + _MAILS, _FIELDS):
        query = (("q", f"SELECT {fields} FROM Case WHERE {condition}"),)  # noqa: S608 - see above
        reply = yield Call("GET", f"{_DATA}/query", query=query, expects=_REFUSED, repeatable=True)
        if reply.status not in _REFUSED:
            return (yield from _records(object_in(reply)))
        if not _UNKNOWN & set(_error_codes(reply)):
            break
    raise ApiError("CALL_REFUSED", f"Salesforce refuses the query: {', '.join(_error_codes(reply))}")


def _records(page: Mapping[str, Any]) -> Steps[list[Mapping[str, Any]]]:
    """Return the records of a page and of those after it."""
    records = [object_of(record) for record in list_of(page.get("records"))]
    while page.get("done") is False and (following := text_of(page.get("nextRecordsUrl"))).startswith("/"):
        page = object_in((yield Call("GET", following, repeatable=True)))
        records += [object_of(record) for record in list_of(page.get("records"))]
    return records


def _children(case: Mapping[str, Any], name: str) -> Steps[list[Mapping[str, Any]]]:
    return (yield from _records(object_of(case.get(name))))


def _case_events(case: Mapping[str, Any]) -> Steps[Sequence[Event]]:
    comments = yield from _children(case, "CaseComments")
    mails = yield from _children(case, "EmailMessages")
    return case_events(case, comments, mails)


def _error_codes(reply: Reply) -> list[str]:
    return [text_of(object_of(error).get("errorCode")) for error in list_of(json_value(reply.body))]


def _cut(text: str, most_bytes: int) -> str:
    return text.encode()[:most_bytes].decode(errors="ignore")


SALESFORCE_API = SalesforceApi()
"""The one instance."""
