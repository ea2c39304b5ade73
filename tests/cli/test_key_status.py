"""What `rapport keys status` says while another command makes keys, and when services disagree for good."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from rapport.crm.v1 import data_key_service_pb2 as data_keys
from rapport.tenant.v1 import signing_key_service_pb2 as signing_keys
from rapport.tenant.v1 import token_service_pb2

from cli.errors import CommandError
from cli.sealing import key_status
from cli.suite.folder import suite_folder


class Services:
    """Both services of a deployment; crm answers by one key after the other and stays with the last of them."""

    def __init__(self) -> None:
        self.keks = ["kek-1"]
        self.tenant = "kek-1"
        self.asked = 0

    def answer(self, method: str) -> Message:
        """Return what a service says to a request."""
        match method.rpartition("/")[2]:
            case "ExchangeOperatorKey":
                return token_service_pb2.AccessToken(token="token")
            case "GetKeyWrapping":
                return signing_keys.KeyWrapping(active_kek=self.tenant)
            case "GetDataKeyStatus":
                self.asked += 1
                return data_keys.DataKeyStatus(active_kek=self.keks[min(self.asked, len(self.keks)) - 1])
        raise AssertionError(method)


class Handlers(grpc.GenericRpcHandler):
    """Answers every method by the services."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a method."""

        async def answer(*_: object) -> bytes:
            return self._services.answer(handler_call_details.method).SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
async def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Services]:
    """Services elsewhere, which the environment names."""
    served, server = Services(), grpc.aio.server()
    server.add_generic_rpc_handlers((Handlers(served),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    (tmp_path / "key").write_text("rpo_key")
    monkeypatch.setenv("RAPPORT_OPERATOR_SERVICES", f'{{"tenant": "127.0.0.1:{port}", "crm": "127.0.0.1:{port}"}}')
    monkeypatch.setenv("RAPPORT_OPERATOR_KEY_FILE", str(tmp_path / "key"))
    yield served
    await server.stop(None)


async def test_a_key_that_is_made_between_two_answers_is_no_difference(services: Services, tmp_path: Path) -> None:
    """Another command's rotation is seen by one service and not yet by the other: it is looked again."""
    services.keks, services.tenant = ["kek-1", "kek-2"], "kek-2"
    assert (await key_status(suite_folder(tmp_path)))["active_kek"] == "kek-2"
    assert services.asked == 2


async def test_services_that_wrap_by_different_keys_for_good_are_named(services: Services, tmp_path: Path) -> None:
    """Looking again has an end, and says which service wraps by which key."""
    services.tenant = "kek-9"
    with pytest.raises(CommandError, match=r"crm: kek-1, tenant: kek-9") as refused:
        await key_status(suite_folder(tmp_path))
    assert refused.value.reason == "ACTIVE_KEK_DIFFERS"
