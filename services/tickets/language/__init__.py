"""What a customer's text says: intent, urgency, mood, difficulty and language."""

from services.tickets.language.rules import (
    HANDLING_MINUTES,
    INTENT_TEXT,
    INTENTS,
    MAX_ANALYSED,
    Signals,
    analyse,
)

__all__ = ["HANDLING_MINUTES", "INTENTS", "INTENT_TEXT", "MAX_ANALYSED", "Signals", "analyse"]
