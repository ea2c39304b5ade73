"""What the gateway reads out of a descriptor image."""

from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

from gateway.edge import contracts
from tests.gateway.upstream import ROOT, compile_image


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> descriptor_pb2.FileDescriptorSet:
    """The probe's image."""
    return contracts.parse(compile_image(tmp_path_factory.mktemp("image")).read_bytes())


def probe_method(image: descriptor_pb2.FileDescriptorSet, name: str) -> contracts.Method:
    """Return a method of the probe service."""
    return next(method for method in contracts.methods(image) if method.name == name)


def test_only_methods_with_an_http_rule_are_known(image: descriptor_pb2.FileDescriptorSet) -> None:
    """What has no rule is for other services and is not routed."""
    assert "Internal" not in {method.name for method in contracts.methods(image)}


def test_a_method_says_its_bindings_owner_and_nature(image: descriptor_pb2.FileDescriptorSet) -> None:
    """Additional bindings count; a read is safe to repeat; the options say who may call."""
    echo = probe_method(image, "Echo")
    assert [binding.template for binding in echo.bindings] == ["/v1/things/{id}", "/api/things/{id}"]
    assert (echo.owner, echo.safe, echo.public, echo.streaming) == ("probe", True, False, False)
    assert echo.path == "/rapport.probe.v1.ProbeService/Echo"
    assert not probe_method(image, "CreateThing").safe
    assert probe_method(image, "ReceiveWebhook").public


def test_the_frontends_services_have_owners_in_a_table() -> None:
    """Nobody is called "frontend": a service of it that has no owner is an error."""
    assert contracts.owner("rapport.frontend.v1.TicketDesk") == "tickets"
    for name in ("rapport.frontend.v1.Unknown", "other.v1.Service", "rapport.tickets.Service"):
        with pytest.raises(contracts.ContractError, match=name):
            contracts.owner(name)


def test_a_rule_that_envoy_refuses_is_an_error(image: descriptor_pb2.FileDescriptorSet) -> None:
    """`response_body` would make Envoy refuse the whole listener."""
    broken = descriptor_pb2.FileDescriptorSet.FromString(image.SerializeToString())
    service = next(file for file in broken.file if file.package == "rapport.probe.v1").service[0]
    service.method[0].options.Extensions[annotations_pb2.http].response_body = "name"
    with pytest.raises(contracts.ContractError, match="response_body"):
        contracts.methods(broken)


def test_what_envoy_gets_holds_no_comments(image: descriptor_pb2.FileDescriptorSet) -> None:
    """Comments are two thirds of an image and mean nothing to the transcoder."""
    slim = contracts.parse(contracts.transcodable(image))
    assert not any(file.HasField("source_code_info") for file in slim.file)
    assert contracts.methods(slim) == contracts.methods(image)


def test_every_rule_of_the_real_contracts_can_be_routed() -> None:
    """The walk over all http rules finds nothing that the gateway or Envoy would refuse."""
    real = contracts.parse(Path(ROOT / "gen" / "rapport.binpb").read_bytes())
    assert contracts.methods(real)
