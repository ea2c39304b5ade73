"""The values of a policy file: amounts, shares, numbers and names, each with its range."""

import re
from decimal import Decimal

import yaml

from servicekit import money
from services.recommendations.intents import Intent

_AMOUNT = re.compile(r"\d{1,9}(?:\.\d{1,3})?")
_NUMBER = re.compile(r"-?\d{1,9}(?:\.\d{1,9})?")
_INTENTS = frozenset(intent.value for intent in Intent)
_LONGEST = 64
_MOST_MINUTES = 480.0


class ValueMistakeError(ValueError):
    """A value is not what it must be; the text says what it must be."""


def amount(node: yaml.Node, *, currency: str) -> Decimal:
    """Return an amount in main units, not below 0, with no more decimals than its currency has."""
    text = _scalar(node)
    if not _AMOUNT.fullmatch(text):
        raise ValueMistakeError('This must be an amount such as "25.00", not below 0 and without a currency.')
    found = Decimal(text)
    if currency and found != found.quantize(Decimal(1).scaleb(-money.decimals(currency))):
        raise ValueMistakeError(f"{currency} has {money.decimals(currency)} decimals.")
    return found


def currency(node: yaml.Node) -> str:
    """Return the three letters of a currency that is in use."""
    text = _scalar(node)
    if text not in money.CURRENCIES:
        raise ValueMistakeError('This must be the three letters of a currency (ISO 4217), such as "EUR".')
    return text


def share(node: yaml.Node) -> float:
    """Return a number from 0 to 1."""
    found = _number(node)
    if not 0 <= found <= 1:
        raise ValueMistakeError("This must be a number from 0 to 1.")
    return found


def minutes(node: yaml.Node) -> float:
    """Return minutes of work, from 0 to a day of them."""
    found = _number(node)
    if not 0 <= found <= _MOST_MINUTES:
        raise ValueMistakeError(f"This must be a number of minutes from 0 to {_MOST_MINUTES:.0f}.")
    return found


def whole(node: yaml.Node, *, least: int, most: int) -> int:
    """Return a whole number in a range."""
    text = _scalar(node)
    if not re.fullmatch(r"\d{1,9}", text) or not least <= int(text) <= most:
        raise ValueMistakeError(f"This must be a whole number from {least} to {most}.")
    return int(text)


def truth(node: yaml.Node) -> bool:
    """Return true or false."""
    text = _scalar(node)
    if text not in {"true", "false"}:
        raise ValueMistakeError("This must be true or false.")
    return text == "true"


def intents(node: yaml.Node) -> frozenset[str]:
    """Return names of what messages are about."""
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise ValueMistakeError("This must be a list of intents, such as [refund, complaint].")
    found = [_scalar(each) for each in node.value]
    unknown = [name[:_LONGEST] for name in found if name not in _INTENTS]
    if unknown:
        known = ", ".join(sorted(_INTENTS))
        raise ValueMistakeError(f"There is no intent {', '.join(unknown[:5])}; there are {known}.")
    if len(set(found)) < len(found):
        raise ValueMistakeError("An intent is there twice.")
    return frozenset(found)


def _scalar(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise ValueMistakeError("This must be a single value.")
    return str(node.value)


def _number(node: yaml.Node) -> float:
    text = _scalar(node)
    if not _NUMBER.fullmatch(text):
        raise ValueMistakeError("This must be a number.")
    return float(text)
