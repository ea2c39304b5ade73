"""What every figure for Prometheus must hold: a name that says its unit, and labels whose values are few and ours."""

import re

import pytest

from tools.metrics import Figure, figures

OURS = {
    "channel": "ways by which people are told, from the settings",
    "component": "parts that a process needs, named where it is wired",
    "direction": "sent or received",
    "grpc_code": "gRPC's codes",
    "grpc_method": "methods of the contracts; a call of another one is not counted",
    "grpc_service": "services of the contracts",
    "grpc_type": "the four shapes of a call",
    "kind": "kinds of things, named in the code",
    "log": "logs that are followed, named in the code",
    "model": "kinds of models, or the operator's language models",
    "operation": "wrap or unwrap",
    "outcome": "outcomes, named in the code",
    "pool": "the two pools",
    "provider": "the providers that there are",
    "queue": "queues, named in the code",
    "reason": "error reasons of the contracts and fixed words",
    "side": "old or new",
    "state": "states, named in the code",
    "work": "background work, named where it is started",
}
"""Every label that there is, and why it has few values. A label for a tenant, a path or an id has no place here."""


@pytest.mark.parametrize("figure", figures(), ids=lambda figure: figure.name)
def test_a_figure_is_named_by_its_unit_and_labelled_by_words_of_ours(figure: Figure) -> None:
    """Counters end with `_total`, times with `_seconds`; no label can take what a client sends."""
    assert re.fullmatch(r"(rapport|grpc_server)_[a-z_]+", figure.name)
    assert figure.name.endswith("_total") == (figure.kind == "counter")
    assert figure.kind != "histogram" or figure.name.endswith(("_seconds", "_bytes"))
    assert set(figure.labels) <= set(OURS), set(figure.labels) - set(OURS)
    assert figure.meaning.endswith(".")
