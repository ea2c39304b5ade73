"""The servicer of the data keys: a message in, one call, a message out."""

from datetime import UTC, datetime
from typing import Any

import grpc
from rapport.crm.v1 import data_key_service_pb2, data_key_service_pb2_grpc
from rapport.crm.v1.key_rotation_pb2 import KeyRotation

from servicekit.identity import caller
from servicekit.ids import uuid7
from servicekit.timestamps import timestamp
from services.crm.key_jobs import KeyJobs
from services.crm.rotations import DATA_KEYS, KEK, Rotation

_KINDS = {KEK: KeyRotation.KIND_KEK, DATA_KEYS: KeyRotation.KIND_DATA_KEYS}
_STATES = {
    "running": KeyRotation.STATE_RUNNING,
    "done": KeyRotation.STATE_DONE,
    "failed": KeyRotation.STATE_FAILED,
    "superseded": KeyRotation.STATE_SUPERSEDED,
}

Context = grpc.aio.ServicerContext[Any, Any]


class DataKeyServicer(data_key_service_pb2_grpc.DataKeyServiceServicer):
    """Implements `rapport.crm.v1.DataKeyService`."""

    def __init__(self, jobs: KeyJobs) -> None:
        self._jobs = jobs

    async def GetDataKeyStatus(
        self, _request: data_key_service_pb2.GetDataKeyStatusRequest, _context: Context
    ) -> data_key_service_pb2.DataKeyStatus:
        """Say how the keys stand."""
        status = await self._jobs.status()
        return data_key_service_pb2.DataKeyStatus(
            active_kek=status.active,
            kek_uses=[data_key_service_pb2.KekUse(kek=kek, count=count) for kek, count in sorted(status.uses.items())],
            older_data_key_count=status.older,
            rotations=[_message(rotation) for rotation in status.rotations],
        )

    async def RotateKek(self, _request: data_key_service_pb2.RotateKekRequest, _context: Context) -> KeyRotation:
        """Let the data keys be wrapped anew."""
        return _message(await self._jobs.rotate_kek())

    async def RotateDataKeys(
        self, _request: data_key_service_pb2.RotateDataKeysRequest, _context: Context
    ) -> KeyRotation:
        """Give every tenant a new data key, or the one that the caller is bound to."""
        tenant_id = caller().tenant_id
        if tenant_id is None:
            return _message(await self._jobs.rotate_data_keys())
        begun = datetime.now(UTC)
        await self._jobs.rotate_one(tenant_id)
        ended = datetime.now(UTC)
        return _message(Rotation(uuid7(), DATA_KEYS, "done", "", 1, 1, 0, "", begun, ended, ended))


def _message(rotation: Rotation) -> KeyRotation:
    message = KeyRotation(
        id=str(rotation.id),
        kind=_KINDS[rotation.kind],
        state=_STATES[rotation.state],
        target_kek=rotation.target,
        total_count=rotation.total,
        done_count=rotation.done,
        failed_count=rotation.failed,
        problem=rotation.problem,
        create_time=timestamp(rotation.created),
        update_time=timestamp(rotation.updated),
    )
    if rotation.ended is not None:
        message.end_time.CopyFrom(timestamp(rotation.ended))
    return message
