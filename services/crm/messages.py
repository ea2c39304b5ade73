"""The contract's messages from the subject's own types, and back."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from rapport.crm.v1 import connection_pb2, delivery_pb2, delivery_service_pb2

from services.crm.connections import Connection, SecretState
from services.crm.deliveries import Balance, Delivery, State


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
        create_time=_timestamp(connection.created),
        update_time=_timestamp(connection.updated),
    )


def delivery_message(delivery: Delivery) -> delivery_pb2.Delivery:
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
        receive_time=_timestamp(delivery.received),
        state_time=_timestamp(delivery.state_time),
    )


def balance_message(balance: Balance) -> delivery_service_pb2.Balance:
    """Return a balance as callers see it."""
    return delivery_service_pb2.Balance(
        admitted=balance.admitted,
        processed=balance.processed,
        superseded=balance.superseded,
        duplicate=balance.duplicate,
        quarantined=balance.quarantined,
        pending=balance.pending,
        dead=balance.dead,
        discarded=balance.discarded,
        refused=balance.refused,
    )


def _secret_message(secret: SecretState) -> connection_pb2.SecretState:
    return connection_pb2.SecretState(
        name=secret.name,
        version=secret.version,
        last_four=secret.last_four,
        create_time=_timestamp(secret.created),
        expire_time=_timestamp(secret.not_after) if secret.not_after else None,
    )


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
