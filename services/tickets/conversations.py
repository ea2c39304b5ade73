"""A ticket's messages in brief: what its card, its order and its clocks need of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.tickets.cards import LastMessage
from services.tickets.language import MAX_ANALYSED
from services.tickets.sla import Said
from services.tickets.tickets import Message

HEAD = 101
"""How many characters of the newest message are read."""
READ_BACK = 5
"""How many of the customer's messages are analysed."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """How many messages are visible, the newest of them, and what the customer last wrote, newest first.

    `said` is when and by whom anything was written, hidden messages included, oldest first.
    """

    count: int
    last: LastMessage | None
    customer_texts: Sequence[str]
    said: Sequence[Said]


def conversation_of(messages: Sequence[Message]) -> Conversation:
    """Return the conversation of a ticket that has these messages, all of them visible."""
    ordered = sorted(messages, key=lambda one: (one.create_time, one.sequence))
    newest = ordered[-1] if ordered else None
    texts = [one.content[:MAX_ANALYSED] for one in reversed(ordered) if not one.from_agent]
    return Conversation(
        count=len(ordered),
        last=LastMessage(newest.content[:HEAD], newest.create_time, newest.from_agent) if newest else None,
        customer_texts=texts[:READ_BACK],
        said=[Said(one.create_time, one.from_agent) for one in ordered],
    )
