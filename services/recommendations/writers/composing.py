"""From a task to a draft: a model's answer is checked sentence by sentence, mended once, or the rules' draft stands."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from services.recommendations import sentences
from services.recommendations.drafts import Draft
from services.recommendations.writers import prompting
from services.recommendations.writers.answer import Line, Lines, Paragraph
from services.recommendations.writers.checking import Said
from services.recommendations.writers.exchange import Exchange, Task
from services.recommendations.writers.provider import Prompt

LANGUAGE = "fallback: drafts of a model cannot be checked in this language"
LEAK = "fallback: what would be sent holds something personal"
CHECKS = "fallback: the model's answer did not pass the checks"

Ask = Callable[[Prompt], AsyncGenerator[str, None]]
"""Asks a model and yields its answer piece by piece; raises NotWrittenError."""

Told = str | Draft | None
"""A piece of a draft's text; None where all that was told is taken back; last the draft itself."""


class NotWrittenError(Exception):
    """There is no answer; the text says why, as the label of a draft says it."""


@dataclass(slots=True)
class _Attempt:
    """An answer as far as it has come in."""

    said: list[Said] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    paragraph: bool = False


async def compose(task: Task, ask: Ask, source: str) -> AsyncGenerator[Told, None]:
    """Yield a draft's sentences as they pass the checks, and last the whole draft; it always comes to one."""
    if not Exchange.possible(task):
        yield replace(task.fallback, labels=(*task.fallback.labels, LANGUAGE))
        return
    exchange = Exchange(task)
    prompt, label = exchange.prompt(), CHECKS
    for again in (False, True):
        attempt = _Attempt()
        if exchange.leaks(prompt):
            label = CHECKS if again else LEAK
            break
        try:
            async with aclosing(_listen(exchange, ask(prompt), attempt)) as pieces:
                async for piece in pieces:
                    yield piece
        except NotWrittenError as error:
            # Who had no time or money left to mend an answer still had one, and it did not pass.
            label = CHECKS if again else str(error)
            if attempt.told:
                yield None
            break
        if not attempt.faults:
            yield exchange.finished("".join(attempt.told), attempt.said, source)
            return
        if attempt.told:
            yield None
        prompt = prompting.mended(prompt, "".join(attempt.raw), attempt.faults)
    for piece in sentences.pieces(task.fallback.text):
        yield piece
    yield replace(task.fallback, labels=(*task.fallback.labels, label))


async def _listen(
    exchange: Exchange, answer: AsyncGenerator[str, None], attempt: _Attempt
) -> AsyncGenerator[str, None]:
    """Yield what of an answer passes, until something does not; all faults are gathered, to be mended at once."""
    lines = Lines()
    async with aclosing(answer):
        async for piece in answer:
            attempt.raw.append(piece)
            for line in lines.feed(piece):
                if told := _take(exchange, line, attempt):
                    yield told
    for line in lines.end():
        if told := _take(exchange, line, attempt):
            yield told
    if not attempt.faults and (fault := exchange.fault_of_all(attempt.said)):
        attempt.faults.append(f"All of it: {fault}.")


def _take(exchange: Exchange, line: Line, attempt: _Attempt) -> str:
    """Take a line in; return what is told of it, if anything."""
    if isinstance(line, Paragraph):
        attempt.paragraph = bool(attempt.said)
        return ""
    if not isinstance(line, Said):
        attempt.faults.append("A line is not one of the two JSON objects.")
        return ""
    attempt.said.append(line)
    if fault := exchange.fault(line):
        attempt.faults.append(f"Sentence {len(attempt.said)}: it {fault}.")
    if attempt.faults:
        return ""
    gap = "" if not attempt.told else "\n\n" if attempt.paragraph else " "
    attempt.paragraph = False
    attempt.told.append(gap + exchange.restored(line))
    return attempt.told[-1]
