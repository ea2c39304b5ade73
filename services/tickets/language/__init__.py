"""What a customer's text says: intent, urgency, mood, difficulty and language."""

from services.tickets.language.analyser import analyse
from services.tickets.language.reading import MAX_ANALYSED
from services.tickets.language.signals import HANDLING_MINUTES, INTENT_TEXT, INTENTS, UNKNOWN, Signals

__all__ = ["HANDLING_MINUTES", "INTENTS", "INTENT_TEXT", "MAX_ANALYSED", "UNKNOWN", "Signals", "analyse"]
