"""The sentences that drafts open and close with: by what the customer came for, and by tone. English.

No sentence holds a number, a name or a promise: those come from the case's facts alone.
"""

from typing import Literal

from services.recommendations.intents import Intent

Tone = Literal["friendly", "professional", "empathetic", "apologetic"]
Length = Literal["short", "medium", "long"]
Mood = Literal["problem", "request", "question", "thanks", "follow_up"]

TONES: tuple[Tone, ...] = ("friendly", "professional", "empathetic", "apologetic")
LENGTHS: tuple[Length, ...] = ("short", "medium", "long")

_PROBLEMS = frozenset(
    {
        Intent.FRAUD_OR_LEGAL,
        Intent.MISSING_ITEM,
        Intent.DAMAGED_ITEM,
        Intent.WRONG_ITEM,
        Intent.NOT_RECEIVED,
        Intent.BILLING_PROBLEM,
        Intent.COMPLAINT,
    }
)
_REQUESTS = frozenset(
    {
        Intent.CANCEL_ORDER,
        Intent.ADDRESS_CHANGE,
        Intent.ORDER_CHANGE,
        Intent.REFUND,
        Intent.RETURN_OR_EXCHANGE,
        Intent.CANCEL_ACCOUNT,
    }
)


def mood(intent: Intent, *, answered: bool) -> Mood:
    """Return what kind of answer an intent wants; after the shop's own answer it is a follow-up."""
    if answered:
        return "follow_up"
    if intent in _PROBLEMS:
        return "problem"
    if intent in _REQUESTS:
        return "request"
    return "thanks" if intent is Intent.THANKS else "question"


OPENINGS: dict[Mood, dict[Tone, str]] = {
    "problem": {
        "friendly": "Thanks so much for letting me know about {topic} - let's get this sorted together.",
        "professional": "Thank you for informing us about {topic}.",
        "empathetic": "I understand how frustrating {topic} must be, and I am glad that you told me.",
        "apologetic": "I am truly sorry about {topic} and for the trouble that it has caused you.",
    },
    "request": {
        "friendly": "Thanks for getting in touch about {topic} - happy to help!",
        "professional": "Thank you for your request regarding {topic}.",
        "empathetic": "I understand that {topic} matters to you, and I want to make it easy.",
        "apologetic": "I am sorry that you had to write to us about {topic}.",
    },
    "question": {
        "friendly": "Great to hear from you, and thanks for asking about {topic}!",
        "professional": "Thank you for contacting us regarding {topic}.",
        "empathetic": "I understand that you are waiting for an answer about {topic}, and I am glad to help.",
        "apologetic": "I am sorry that we left you with questions about {topic}.",
    },
    "thanks": {
        "friendly": "You're very welcome - it was a pleasure!",
        "professional": "Thank you for your kind message.",
        "empathetic": "Thank you for taking the time to write; it means a lot to hear that.",
        "apologetic": "Thank you for your patience with us, and I am sorry for any trouble on the way.",
    },
    "follow_up": {
        "friendly": "Just checking in about {topic}!",
        "professional": "I am following up on {topic}.",
        "empathetic": "I wanted to check how things stand for you with {topic}.",
        "apologetic": "I am sorry that {topic} is still on your mind; I wanted to follow up.",
    },
}
"""The first sentence."""

ASSURANCES: dict[Tone, str] = {
    "friendly": "You did the right thing by writing, and I have everything that you told us right here.",
    "professional": "I have reviewed your message and the information that we hold.",
    "empathetic": "I have read your message carefully, and I can see why this matters to you.",
    "apologetic": "This is not the experience that we want you to have, and I have read your message carefully.",
}
"""A sentence more for long drafts."""

CLOSINGS: dict[Tone, str] = {
    "friendly": "If anything else comes up, just reply here and I'll jump right on it!",
    "professional": "Please reply to this message if you require any further information.",
    "empathetic": "Please reply here if anything worries you in the meantime; I am happy to help.",
    "apologetic": "Again, I am sorry for the inconvenience; please reply here if anything remains open.",
}
"""The last sentence."""
