"""The servicer of the signing keys: a message in, one call, a message out."""

from typing import Any

import grpc
from rapport.tenant.v1 import signing_key_pb2, signing_key_service_pb2, signing_key_service_pb2_grpc

from services.tenant import messages
from services.tenant.rewrapping import Rewrapping, Wrapping
from services.tenant.signing_ring import SigningRing
from services.tenant.trust_store import TrustStore

Context = grpc.aio.ServicerContext[Any, Any]


class SigningKeyServicer(signing_key_service_pb2_grpc.SigningKeyServiceServicer):
    """Implements `rapport.tenant.v1.SigningKeyService`."""

    def __init__(self, store: TrustStore, ring: SigningRing, rewrapping: Rewrapping) -> None:
        self._store = store
        self._ring = ring
        self._rewrapping = rewrapping

    async def ListSigningKeys(
        self, _request: signing_key_service_pb2.ListSigningKeysRequest, _context: Context
    ) -> signing_key_service_pb2.ListSigningKeysResponse:
        """Return the published keys."""
        return signing_key_service_pb2.ListSigningKeysResponse(
            signing_keys=[messages.signing_key_message(life) for life in await self._store.list_signing_keys()]
        )

    async def RotateSigningKey(
        self, _request: signing_key_service_pb2.RotateSigningKeyRequest, _context: Context
    ) -> signing_key_pb2.SigningKey:
        """Let the next key sign."""
        return messages.signing_key_message(await self._ring.rotate())

    async def GetKeyWrapping(
        self, _request: signing_key_service_pb2.GetKeyWrappingRequest, _context: Context
    ) -> signing_key_service_pb2.KeyWrapping:
        """Say what wraps how much."""
        return _wrapping_message(await self._rewrapping.status())

    async def RewrapKeys(
        self, _request: signing_key_service_pb2.RewrapKeysRequest, _context: Context
    ) -> signing_key_service_pb2.KeyWrapping:
        """Wrap everything by the active key."""
        return _wrapping_message(await self._rewrapping.rewrap())


def _wrapping_message(wrapping: Wrapping) -> signing_key_service_pb2.KeyWrapping:
    uses = [signing_key_service_pb2.WrappingUse(kek=kek, count=count) for kek, count in sorted(wrapping.uses.items())]
    return signing_key_service_pb2.KeyWrapping(active_kek=wrapping.active, kek_uses=uses)
