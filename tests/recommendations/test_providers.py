"""Both protocols against a real HTTP server that speaks the vendors' real APIs, in sickness and in health."""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.recommendations.writers.calling import Calls
from services.recommendations.writers.connecting import connect
from services.recommendations.writers.prices import Usage
from services.recommendations.writers.provider import Limits, Prompt, Provider, ProviderError, Turn
from tests.recommendations.writing import models
from tests.support.model_server import ModelServer, Reply, model_server

PROMPT = Prompt("Be brief.", (Turn("user", "What is the time?"),))
LIMITS = Limits(output_tokens=500, characters=20_000, seconds=5.0)
TEN_MEGABYTES = 10_000_000


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """A server of models."""
    async with model_server() as running:
        yield running


@pytest.fixture(params=["large", "local"])
async def provider(request: pytest.FixtureRequest, server: ModelServer, tmp_path: Path) -> AsyncIterator[Provider]:
    """A model of each protocol."""
    made = connect(models(tmp_path, server.url, timeout_seconds=1.0).by_name[request.param])
    yield made
    await made.close()


async def answer(provider: Provider, seconds: float = 5.0) -> tuple[str, Usage | None]:
    """Ask a model and return its whole answer."""
    calls = Calls(provider)
    until = asyncio.get_running_loop().time() + seconds
    found = [delta async for delta in calls.stream(PROMPT, LIMITS, until)]
    usage = found[-1] if found and isinstance(found[-1], Usage) else None
    return "".join(delta for delta in found if isinstance(delta, str)), usage


async def test_an_answer_comes_in_pieces_with_its_tokens(provider: Provider, server: ModelServer) -> None:
    """The text is whole, the tokens are those that the provider counted, and the rules of the work were sent along."""
    server.script(Reply("It is noon, and all is well. " * 5, usage=(17, 41)))
    assert await answer(provider) == ("It is noon, and all is well. " * 5, Usage(17, 41))
    (asked,) = server.asked
    assert "Be brief." in asked.text
    assert "tools" not in asked.body


async def test_a_busy_provider_is_asked_again_when_it_says_so(provider: Provider, server: ModelServer) -> None:
    """429 with a short retry-after and 503 are repeated; the third answer counts."""
    server.script(Reply(status=429, headers={"retry-after": "0.05"}), Reply(status=503), Reply("At last."))
    assert (await answer(provider))[0] == "At last."
    assert len(server.asked) == 3


async def test_a_provider_that_wants_a_long_pause_is_left_alone(provider: Provider, server: ModelServer) -> None:
    """Nobody waits for a minute; it is said for how long, and that nothing was spent."""
    server.script(Reply(status=429, headers={"retry-after": "60"}))
    with pytest.raises(ProviderError) as raised:
        await answer(provider)
    assert (raised.value.fault, raised.value.retry_after, raised.value.free) == ("busy", 60.0, True)
    assert len(server.asked) == 1


BROKEN = b'data: {"type": "message_start", \n\ndata: {oops\n\n'
HUGE = b"event: content_block_delta\ndata: " + b"x" * TEN_MEGABYTES + b"\n\n"


@pytest.mark.parametrize(
    ("reply", "fault", "free", "times"),
    [
        (Reply(status=500), "unavailable", False, 1),
        (Reply(status=529), "unavailable", True, 3),
        (Reply(status=400), "rejected", True, 1),
        (Reply(status=403), "credential", True, 1),
        (Reply(status=307, headers={"location": "http://169.254.169.254/"}), "rejected", True, 1),
        (Reply("Half of", cut=True), "broken", False, 1),
        (Reply("A text that ends in an error.", error_midway=True), None, False, 1),
        (Reply("No.", stop="refusal"), "refused", False, 1),
        (Reply("And so on and on", stop="length"), "too_long", False, 1),
        (Reply("Let me look.", stop="tool"), "broken", False, 1),
        (Reply(body=BROKEN), "broken", False, 1),
        (Reply(body=b"<html>Welcome</html>"), "broken", False, 1),
        (Reply(body=b""), "broken", False, 1),
        (Reply(body=HUGE), "too_long", False, 1),
        (Reply("x" * 30_000), "too_long", False, 1),
        (Reply(body=gzip.compress(b"data: {}\n\n"), headers={"content-encoding": "gzip"}), "broken", False, 1),
        (Reply("Slow", wait="middle"), "timeout", False, 1),
        (Reply(wait="head"), "timeout", False, 1),
    ],
    ids=lambda value: value.__class__.__name__ if isinstance(value, Reply) else str(value),
)
async def test_what_goes_wrong_has_a_name(
    provider: Provider, server: ModelServer, reply: Reply, fault: str | None, *, free: bool, times: int
) -> None:
    """Each fault is told apart, what may have cost money is not repeated, and no error holds a word of the question."""
    server.script(reply)
    with pytest.raises(ProviderError) as raised:
        await answer(provider)
    error = raised.value
    assert fault is None or error.fault == fault
    assert error.fault in {"unavailable", "broken"} or fault is not None
    assert error.free is free
    assert len(server.asked) == times
    assert "time" not in re.sub("timeout", "", repr(error))
    assert error.__suppress_context__ or error.fault in {"timeout", "too_long", "refused", "broken"}


async def test_a_server_that_is_not_there_costs_nothing(tmp_path: Path) -> None:
    """A refused connection is unreachable, and was free."""
    gone = connect(models(tmp_path, "http://127.0.0.1:9").by_name["local"])
    with pytest.raises(ProviderError) as raised:
        await answer(gone)
    assert (raised.value.fault, raised.value.free) == ("unreachable", True)
    await gone.close()


async def test_a_key_that_is_missing_or_wrong_is_told_apart(server: ModelServer, tmp_path: Path) -> None:
    """The key is read for each call: a file that was mended helps at once."""
    model = models(tmp_path, server.url).by_name["large"]
    asking = connect(model)
    server.script(Reply("Fine."))
    assert model.key_file is not None
    right = model.key_file.read_text()
    for wrong in ("another-key", "", "schl\u00fcssel"):
        model.key_file.write_text(wrong)
        with pytest.raises(ProviderError) as raised:
            await answer(asking)
        assert raised.value.fault == "credential"
    model.key_file.write_text(right)
    assert (await answer(asking))[0] == "Fine."
    await asking.close()


async def test_a_model_that_keeps_failing_is_left_alone(provider: Provider, server: ModelServer) -> None:
    """After five failures in a row nobody waits for it any more."""
    server.script(Reply(body=b""))
    calls = Calls(provider)
    for _ in range(7):
        with pytest.raises(ProviderError):
            async for _delta in calls.stream(PROMPT, LIMITS, asyncio.get_running_loop().time() + 5):
                pass
    assert len(server.asked) == 5


@pytest.mark.parametrize(
    ("usage", "expected"),
    [(None, None), ((-5, 7), None), ((10**12, 7), None), (("many", 7), None), ((3, 0), Usage(3, 0))],
    ids=["none", "negative", "endless", "text", "plain"],
)
async def test_tokens_that_cannot_be_true_are_not_believed(
    provider: Provider, server: ModelServer, usage: tuple[object, object] | None, expected: Usage | None
) -> None:
    """A provider that counts nonsense has counted nothing."""
    server.script(Reply("Fine.", usage=usage))
    assert await answer(provider) == ("Fine.", expected)
