"""The contract's messages from the subject's own types, and back."""

from collections.abc import Sequence
from dataclasses import asdict

from rapport.crm.v1 import app_pb2, connection_pb2, connection_service_pb2, delivery_pb2, delivery_service_pb2

from servicekit.timestamps import timestamp
from services.crm.connections import Connection, Health, SecretState
from services.crm.deliveries import Balance, Delivery, Replay, State
from services.crm.providers import PROVIDERS
from services.crm.trial import Finding, Result


def state_of(value: "delivery_pb2.Delivery.State.ValueType") -> State | None:
    """Return the state that a request asks for; None when it asks for none."""
    if value == delivery_pb2.Delivery.STATE_UNSPECIFIED:
        return None
    return State(delivery_pb2.Delivery.State.Name(value).removeprefix("STATE_").lower())


def connection_message(connection: Connection) -> connection_pb2.Connection:
    """Return a connection as callers see it."""
    return connection_pb2.Connection(
        id=str(connection.id),
        provider=connection.provider,
        display_name=connection.display_name,
        config=connection.config,
        secrets=[_secret_message(secret) for secret in connection.secrets],
        create_time=timestamp(connection.created),
        update_time=timestamp(connection.updated),
        predecessor_expire_time=timestamp(connection.predecessor_until) if connection.predecessor_until else None,
        etag=connection.etag,
        health=_health_message(connection.health) if _is_called(connection.provider) else None,
    )


def trial_message(findings: Sequence[Finding]) -> connection_service_pb2.TestConnectionResponse:
    """Return what a test of a connection found as callers see it."""
    kind = connection_service_pb2.TestConnectionResponse.Finding
    return connection_service_pb2.TestConnectionResponse(
        passed=all(finding.outcome is not Result.FAILED for finding in findings),
        findings=[
            kind(
                check=finding.check,
                outcome=kind.Outcome.Value(f"OUTCOME_{finding.outcome.name}"),
                reason=finding.reason,
                detail=finding.detail,
                advice=finding.advice,
            )
            for finding in findings
        ],
    )


def _is_called(provider: str) -> bool:
    known = PROVIDERS.get(provider)
    return known is not None and known.api is not None


def _health_message(health: Health) -> connection_pb2.ConnectionHealth:
    kind = connection_pb2.ConnectionHealth
    state = kind.STATE_UNKNOWN if health.success is None else kind.STATE_HEALTHY
    return kind(
        state=kind.STATE_FAILING if health.failing_since else state,
        success_time=timestamp(health.success) if health.success else None,
        failure_time=timestamp(health.failure) if health.failure else None,
        failing_since=timestamp(health.failing_since) if health.failing_since else None,
        failure_reason=health.reason,
        failure_detail=health.detail,
        access_expire_time=timestamp(health.access_expires) if health.access_expires else None,
    )


def app_message(app: Connection) -> app_pb2.App:
    """Return an app, which is kept as a connection, as callers see it."""
    return app_pb2.App(
        id=str(app.id),
        provider=app.provider,
        display_name=app.display_name,
        config=app.config,
        secrets=[_secret_message(secret) for secret in app.secrets],
        create_time=timestamp(app.created),
        update_time=timestamp(app.updated),
    )


def delivery_message(delivery: Delivery, replays: Sequence[Replay] = ()) -> delivery_pb2.Delivery:
    """Return a delivery as callers see it."""
    return delivery_pb2.Delivery(
        id=str(delivery.id),
        connection_id=str(delivery.connection_id),
        provider=delivery.provider,
        state=delivery_pb2.Delivery.State.Value(f"STATE_{delivery.state.name}"),
        reason=delivery.reason,
        attempts=delivery.attempts,
        secret_version=delivery.secret_version,
        duplicates=delivery.duplicates,
        receive_time=timestamp(delivery.received),
        state_time=timestamp(delivery.state_time),
        replay_count=delivery.replay_count,
        replay_id=str(delivery.replay_id or ""),
        replays=[_replay_message(replay) for replay in replays],
        erase_time=timestamp(delivery.erased) if delivery.erased else None,
    )


def balance_message(balance: Balance) -> delivery_service_pb2.Balance:
    """Return a balance as callers see it."""
    return delivery_service_pb2.Balance(**asdict(balance))


def _replay_message(replay: Replay) -> delivery_pb2.Replay:
    return delivery_pb2.Replay(
        id=str(replay.id),
        number=replay.number,
        state_before=delivery_pb2.Delivery.State.Value(f"STATE_{replay.state_before.name}"),
        reason_before=replay.reason_before,
        attempts_before=replay.attempts_before,
        create_time=timestamp(replay.created),
    )


def _secret_message(secret: SecretState) -> connection_pb2.SecretState:
    return connection_pb2.SecretState(
        name=secret.name,
        version=secret.version,
        last_four=secret.last_four,
        create_time=timestamp(secret.created),
        expire_time=timestamp(secret.not_after) if secret.not_after else None,
    )
