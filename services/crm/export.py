"""Deliveries and changes for an export: what a provider sent and what it is to get, opened, since it is the shop's."""

from base64 import b64encode
from uuid import UUID

from servicekit.envelope import SealBrokenError
from servicekit.tenant_data import Opener, Row
from services.crm.admission import unpack
from services.crm.credentials import open_payload
from services.crm.keyring import Keyring
from services.crm.writing import open_content

_SEALED = ("payload", "dedupe_key")


def opened_delivery(keyring: Keyring) -> Opener:
    """Return what puts a delivery's method, headers and body (base64 where it is no text) in place of sealed bytes."""

    async def open_row(tenant_id: UUID, row: Row) -> Row:
        shown = {name: value for name, value in row.items() if name not in _SEALED}
        try:
            sealer = await keyring.sealer(tenant_id, row["key_version"])
            packed = open_payload(sealer, row["payload"], tenant_id=tenant_id, delivery=UUID(row["id"]))
        except (KeyError, SealBrokenError):
            # The key is gone, and the payload with it.
            return shown | {"payload": None}
        request = unpack(packed)
        payload = {"method": request.method, "headers": [list(header) for header in request.headers]}
        try:
            body = {"body": request.body.decode()}
        except UnicodeDecodeError:
            body = {"body_base64": b64encode(request.body).decode()}
        return shown | {"payload": payload | body}

    return open_row


def opened_write(keyring: Keyring) -> Opener:
    """Return what puts what is to be written at a helpdesk in place of sealed bytes; None once it is written."""

    async def open_row(tenant_id: UUID, row: Row) -> Row:
        shown = {name: value for name, value in row.items() if name not in ("payload", "digest")}
        if row["payload"] is None:
            return shown | {"payload": None}
        try:
            sealer = await keyring.sealer(tenant_id, row["key_version"])
            content = open_content(sealer, row["payload"], tenant_id=tenant_id, write=UUID(row["id"]))
        except (KeyError, SealBrokenError):
            # The key is gone, and the payload with it.
            return shown | {"payload": None}
        return shown | {"payload": content}

    return open_row
