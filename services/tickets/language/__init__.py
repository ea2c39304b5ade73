"""What a customer's text says: intent, urgency, mood, difficulty and language."""

from services.tickets.language.analyser import analyse
from services.tickets.language.reading import MAX_ANALYSED, clauses, said_now
from services.tickets.language.rules import MOST_PLACES
from services.tickets.language.rules import compiled as compiled_phrase
from services.tickets.language.rules import negated as is_negated
from services.tickets.language.signals import HANDLING_MINUTES, INTENT_TEXT, INTENTS, UNKNOWN, Signals

__all__ = [
    "HANDLING_MINUTES",
    "INTENTS",
    "INTENT_TEXT",
    "MAX_ANALYSED",
    "MOST_PLACES",
    "UNKNOWN",
    "Signals",
    "analyse",
    "clauses",
    "compiled_phrase",
    "is_negated",
    "said_now",
]
