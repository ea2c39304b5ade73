"""What every contract must hold, walked over the one descriptor image."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from rapport.options.v1 import options_pb2

ROOT = Path(__file__).resolve().parents[2]
IMAGE = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "gen" / "rapport.binpb").read_bytes())
READS = (
    "Get",
    "List",
    "Find",
    "BatchGet",
    "Search",
    "Explain",
    "Watch",
    "Compare",
    "Preview",
    "Check",
    "Analyze",
    "ReplayPolicies",
)
PUBLIC = {
    "rapport.crm.v1.WebhookService.ReceivePredecessorWebhook",
    "rapport.crm.v1.WebhookService.ReceiveWebhook",
    "rapport.tenant.v1.OAuthService.GetAuthorizationServer",
    "rapport.tenant.v1.OAuthService.IssueToken",
    "rapport.tenant.v1.TokenService.ExchangeApiKey",
    "rapport.tenant.v1.TokenService.ExchangeOperatorKey",
    "rapport.tenant.v1.TokenService.ExchangeWorkload",
    "rapport.tenant.v1.TokenService.GetJwks",
}
INTERNAL_SCOPES = {"audit.record", "log.read", "tickets.ingest", "tenants.erase", "tenants.export", "trust.watch"}

ONE_TIME_SECRETS = {"api_key", "key", "webhook_secret", "webhook_url"}
"""The fields of answers that hold a secret which is told once and cannot be read again."""

MAKES_NO_SECRET = {"rapport.tenant.v1.ApiKeyService.RevokeApiKey"}
"""Methods that answer with such a resource and leave its secret out."""

ADMINISTRATION = {
    f"{resource}.write"
    for resource in (
        "apps",
        "tenants",
        "keys",
        "connections",
        "domains",
        "signing_keys",
        "gateway",
        "data_keys",
        "keks",
        "policies",
    )
} | {"tenants.export", "credentials.use", "tickets.import"}

FOR_GOOD = {
    "rapport.crm.v1.DeliveryService.EraseCustomerDeliveries",
    "rapport.crm.v1.WriteService.RetryWrite",
    "rapport.crm.v1.WriteService.SendReply",
    "rapport.recommendations.v1.CustomerService.EraseCustomer",
    "rapport.recommendations.v1.IdentityService.MergeCustomers",
    "rapport.recommendations.v1.IdentityService.UndoMerge",
    "rapport.tickets.v1.TicketService.EraseCustomerTickets",
}
"""Acts under a scope of daily work that are kept: erasures, what a customer is sent, and who was made one with whom."""


def methods() -> Iterator[tuple[str, descriptor_pb2.MethodDescriptorProto]]:
    """Yield every method of ours with its full name."""
    for file in IMAGE.file:
        if file.package.startswith("rapport."):
            for service in file.service:
                for method in service.method:
                    yield f"{file.package}.{service.name}.{method.name}", method


METHODS = dict(methods())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_who_may_call_it(name: str) -> None:
    """A method names a scope, or stands in the short list of public ones."""
    access = METHODS[name].options.Extensions[options_pb2.access]
    assert bool(access.scope) != access.public
    assert access.public == (name in PUBLIC)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_only_reads_says_so(name: str) -> None:
    """Reads are marked free of side effects, so that they may be tried again; nothing else is."""
    method = METHODS[name]
    reads = method.name.startswith(READS) and not name.endswith("Assistant.GetDraft")
    level = method.options.idempotency_level
    if reads:
        assert level in {descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS, descriptor_pb2.MethodOptions.IDEMPOTENT}
    elif level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS:
        assert method.name.startswith("Exchange") or name.endswith("Assistant.GetDraft")


def test_no_answer_holds_a_secret_but_those_that_are_told_once() -> None:
    """Stored credentials have no way out: whatever is marked as secret stands in requests, or was made a moment ago."""
    messages = {f".{file.package}.{message.name}": message for file in IMAGE.file for message in file.message_type}

    def secrets_in(name: str, seen: set[str]) -> set[str]:
        message = messages.get(name)
        if message is None or name in seen:
            return set()
        seen.add(name)
        own = {field.name for field in message.field if field.options.debug_redact}
        return own.union(*(secrets_in(field.type_name, seen) for field in message.field))

    told = {name: found for name, method in METHODS.items() if (found := secrets_in(method.output_type, set()))}
    crm = {name: found for name, found in told.items() if name.startswith("rapport.crm.")}
    assert crm
    assert set().union(*crm.values()) <= ONE_TIME_SECRETS


def test_what_tells_a_secret_once_is_not_repeated_by_the_gateway() -> None:
    """The gateway may repeat an idempotent call after its work was done; the repeat's answer lacks the secret."""
    messages = {f".{file.package}.{message.name}": message for file in IMAGE.file for message in file.message_type}
    telling = {
        name
        for name, method in METHODS.items()
        if ONE_TIME_SECRETS & {field.name for field in messages[method.output_type].field}
    } - MAKES_NO_SECRET
    assert {name.rpartition(".")[2] for name in telling} == {
        "CreateApiKey",
        "CreateApp",
        "CreateConnection",
        "CreateTenant",
        "RotateApiKey",
        "RotateAppAddress",
        "RotateWebhookAddress",
    }
    repeated = {name for name in telling if METHODS[name].options.HasField("idempotency_level")}
    assert repeated == set()


@pytest.mark.parametrize("name", METHODS)
def test_no_rest_rule_needs_what_the_transcoder_refuses(name: str) -> None:
    """Envoy stops at a rule with `response_body`, so none may have one."""
    rule = METHODS[name].options.Extensions[annotations_pb2.http]
    assert not rule.response_body
    assert not any(each.response_body for each in rule.additional_bindings)


@pytest.mark.parametrize("name", METHODS)
def test_no_inner_method_has_a_rest_route(name: str) -> None:
    """What only services may call is not reachable over REST."""
    method = METHODS[name]
    if method.options.Extensions[options_pb2.access].scope in INTERNAL_SCOPES:
        assert not method.options.HasExtension(annotations_pb2.http)


@pytest.mark.parametrize("name", METHODS)
def test_acts_of_administration_are_audited(name: str) -> None:
    """What changes tenants, credentials, connections, domains or the gateway stands in the audit log.

    So do the few acts of daily work that cannot be taken back.
    """
    access = METHODS[name].options.Extensions[options_pb2.access]
    assert access.audited == (access.scope in ADMINISTRATION or name in FOR_GOOD)


def test_rest_routes_are_unique() -> None:
    """No two methods claim the same verb and path."""
    seen: dict[tuple[str, str], str] = {}
    for name, method in METHODS.items():
        rule = method.options.Extensions[annotations_pb2.http]
        for each in (rule, *rule.additional_bindings):
            verb = each.WhichOneof("pattern")
            if verb:
                key = (each.custom.kind, each.custom.path) if verb == "custom" else (verb, getattr(each, verb))
                assert key not in seen, f"{name} and {seen[key]} both claim {key}"
                seen[key] = name


def test_the_frontends_messages_hold_no_64_bit_integer() -> None:
    """JSON turns 64-bit integers into strings, and the frontend crashes on them."""
    wide = {
        descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
        descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
        descriptor_pb2.FieldDescriptorProto.TYPE_SINT64,
        descriptor_pb2.FieldDescriptorProto.TYPE_FIXED64,
    }
    found = [
        f"{message.name}.{field.name}"
        for file in IMAGE.file
        if file.package == "rapport.frontend.v1"
        for message in file.message_type
        for field in message.field
        if field.type in wide
    ]
    assert found == []


def test_every_package_of_a_service_lists_its_error_reasons() -> None:
    """Each service's package has an `ErrorReason` whose values carry its prefix and a comment."""
    for package in ("gateway", "tenant", "crm", "tickets", "recommendations"):
        enums = [
            enum
            for file in IMAGE.file
            if file.package == f"rapport.{package}.v1"
            for enum in file.enum_type
            if enum.name == "ErrorReason"
        ]
        assert len(enums) == 1
        assert all(value.name.startswith("ERROR_REASON_") for value in enums[0].value)
