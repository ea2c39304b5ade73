"""What a customer's message is about: phrases on word boundaries, read with negation.

"Nothing is broken" is no damage and "I do not want to cancel" no cancellation; "I haven't received it" is a parcel that
is missing, since there the negation is the message. English only; a message that fits nothing is `GENERAL`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum


class Intent(StrEnum):
    """What a message is about; the more pressing come first."""

    FRAUD_OR_LEGAL = "fraud_or_legal"
    MISSING_ITEM = "missing_item"
    DAMAGED_ITEM = "damaged_item"
    WRONG_ITEM = "wrong_item"
    CANCEL_ORDER = "cancel_order"
    ADDRESS_CHANGE = "address_change"
    ORDER_CHANGE = "order_change"
    NOT_RECEIVED = "not_received"
    BILLING_PROBLEM = "billing_problem"
    REFUND = "refund"
    RETURN_OR_EXCHANGE = "return_or_exchange"
    ORDER_STATUS = "order_status"
    PREORDER = "preorder"
    CANCEL_ACCOUNT = "cancel_account"
    DISCOUNT = "discount"
    PRODUCT_QUESTION = "product_question"
    COMPLAINT = "complaint"
    THANKS = "thanks"
    GENERAL = "general"


CRITICAL = frozenset({Intent.MISSING_ITEM, Intent.DAMAGED_ITEM, Intent.WRONG_ITEM})
"""Something went wrong with the goods themselves."""

COMPLAINTS = CRITICAL | {
    Intent.NOT_RECEIVED,
    Intent.BILLING_PROBLEM,
    Intent.REFUND,
    Intent.COMPLAINT,
    Intent.FRAUD_OR_LEGAL,
}
"""The customer is unhappy with something."""

QUESTIONS = frozenset(
    {Intent.ORDER_STATUS, Intent.PREORDER, Intent.DISCOUNT, Intent.PRODUCT_QUESTION, Intent.THANKS, Intent.GENERAL}
)
"""The customer wants to know something, and nothing went wrong."""

TIMED = frozenset({Intent.CANCEL_ORDER, Intent.ADDRESS_CHANGE, Intent.ORDER_CHANGE})
"""What can be done only until the parcel leaves."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """A phrase; `negatable` phrases do not count when a negation stands shortly before them."""

    intent: Intent
    phrase: re.Pattern[str]
    negatable: bool = True


_COUNT = r"(?:\d{1,3}|one|two|three|four|five|six|seven|eight|nine|ten)"
_GAP = r"(?:\W+\w+){0,3}\W+"
_THING = r"(?:order|orders|purchase|package|parcel|delivery|shipment|item|items|product)"
_NOT = r"(?:not|n[o']t|never|cannot|haven't|hasn't|hadn't|didn't|doesn't|don't|isn't|wasn't|aren't|weren't|won't)"


def _rules(intent: Intent, *phrases: str, negatable: bool = True) -> tuple[_Rule, ...]:
    return tuple(_Rule(intent, re.compile(rf"\b(?:{phrase})\b"), negatable) for phrase in phrases)


_RULES: tuple[_Rule, ...] = (
    *_rules(
        Intent.FRAUD_OR_LEGAL,
        r"chargeback|charge back|fraud|fraudulent|scam|scammed|lawyer|attorney|legal action|sue you|small claims",
        r"dispute (?:the|this) charge|trading standards|consumer protection",
    ),
    *_rules(
        Intent.MISSING_ITEM,
        rf"missing{_GAP}?(?:item|items|piece|pieces|part|parts|product)",
        r"(?:items?|pieces?|parts?|something|one|products?)(?:\W+\w+){0,3}\W+missing",
        r"incomplete order|order (?:was|is) incomplete",
    ),
    *_rules(
        Intent.MISSING_ITEM,
        rf"{_NOT}\W+in the (?:box|package|parcel)",
        r"(?:only|just) (?:received|got) (?:\w+\W+){1,3}of",
        rf"(?:received|got|arrived|delivered|sent)\W+(?:(?:me|us|only|just)\W+)?{_COUNT}\W+"
        rf"(?:out )?of\W+(?:\w+\W+)?{_COUNT}",
        r"left out of (?:the|my) (?:box|package|parcel|order)",
        negatable=False,
    ),
    *_rules(
        Intent.DAMAGED_ITEM,
        r"broken|damaged|defective|faulty|cracked|shattered|torn|ripped|scratched|dented|leaking|leaked|smashed",
        r"broke (?:after|on|when|as|within)|fell apart|falling apart",
    ),
    *_rules(
        Intent.DAMAGED_ITEM,
        rf"{_NOT}\W+(?:work|working|turn on|switch on|charge|charging)|stopped working",
        negatable=False,
    ),
    *_rules(
        Intent.WRONG_ITEM,
        r"wrong (?:\w+\W+)?(?:item|items|product|products|size|colou?r|one|order|thing|model)",
        r"incorrect (?:item|items|product|size|colou?r)|(?:sent|received|got|shipped) (?:me )?the wrong",
    ),
    *_rules(Intent.WRONG_ITEM, rf"{_NOT}\W+what i ordered|different (?:from|than|to) what i ordered", negatable=False),
    *_rules(
        Intent.CANCEL_ORDER,
        rf"cancel(?:{_GAP}|\W+){_THING}|{_THING}{_GAP}?(?:cancelled|canceled)|cancel(?: it| this| that)",
        r"cancellation of (?:my|the|an) order|(?:like|want|wish|need) to cancel|please cancel|can i cancel",
    ),
    *_rules(
        Intent.CANCEL_ACCOUNT,
        rf"(?:cancel|close|delete|terminate){_GAP}?(?:account|subscription|membership|plan)|unsubscribe",
    ),
    *_rules(
        Intent.ADDRESS_CHANGE,
        rf"(?:change|edit|update|correct|fix)(?:{_GAP}|\W+)(?:shipping |delivery )?address",
        r"(?:wrong|incorrect|old|previous) (?:shipping |delivery )?address|address is (?:wrong|incorrect|old)",
        r"ship(?:ped)?(?: it| this)? to (?:a |an |another |my )?(?:different|other|new) address|to another address",
    ),
    *_rules(
        Intent.ORDER_CHANGE,
        rf"(?:edit|change|modify|amend|update|adjust){_GAP}?(?:order|size|colou?r|quantity)|add {_GAP}?to my order",
        r"ordered the wrong|by mistake|wrong item ordered",
    ),
    *_rules(
        Intent.NOT_RECEIVED,
        rf"{_NOT}(?:\W+\w+){{0,2}}\W+(?:arrived?|received?|come|came|delivered|gotten|got|show up|shown up)",
        r"(?:got|was|is|been|gone|went) lost|lost (?:in|by) (?:the )?(?:mail|post|transit|courier)|no sign of",
        r"still waiting|says delivered",
        negatable=False,
    ),
    *_rules(Intent.NOT_RECEIVED, r"delayed|(?<![\w]-)late(?!-\w| night)|overdue|stuck in (?:transit|customs)"),
    *_rules(
        Intent.BILLING_PROBLEM,
        r"charged (?:me )?(?:twice|double|two times|again)|double charged?|overcharged",
        r"payment (?:failed|declined|problem|issue)|card (?:was )?declined|unknown charge",
        r"(?:wrong|incorrect) (?:amount|price)|billing (?:issue|error|problem)",
    ),
    *_rules(Intent.REFUND, r"refund|refunded|refunds|reimburse(?:d|ment)?|money back|credit me"),
    *_rules(
        Intent.REFUND,
        rf"{_NOT}\W+(?:(?:yet|been|being|even|still|got|gotten)\W+){{0,2}}(?:refunded|reimbursed)",
        rf"{_NOT}\W+(?:\w+\W+){{0,2}}(?:received?|gotten|got|get|seen|see|had)\W+(?:\w+\W+){{0,2}}"
        r"(?:refund|reimbursement|money back)",
        r"no refund\W+(?:\w+\W+){0,3}(?:received|arrived|come|came|paid|issued|processed|given|appeared|yet|so far)",
        r"(?:still|there is|there's|there was|there has been) no refund",
        negatable=False,
    ),
    *_rules(
        Intent.RETURN_OR_EXCHANGE,
        rf"return(?:ing)?{_GAP}?(?:it|this|them|these|{_THING[3:-1]})|return (?:label|policy|form)|send{_GAP}?back",
        r"exchange|exchanging|swap|how (?:do|can) i return|want to return|would like to return",
    ),
    *_rules(
        Intent.ORDER_STATUS,
        rf"where(?: is|'s| are)(?:{_GAP}|\W+)(?:{_THING}|it|my stuff)|track(?:ing)?|status of|order status|eta",
        rf"when (?:will|does|is|can|do)(?:{_GAP}|\W+)"
        r"(?:arrive|come|ship|be delivered|delivered|get here|receive|dispatched|sent)",
        r"has (?:it|my order|this) (?:shipped|been shipped|been sent|left)|shipped yet|delivery (?:date|time|estimate)",
    ),
    *_rules(
        Intent.PREORDER, r"pre-?\s?order(?:ed|s)?|back\s?order(?:ed)?|back in stock|restock(?:ed|ing)?|release date"
    ),
    *_rules(
        Intent.DISCOUNT, r"discount|coupon|promo(?: code|tion)?|voucher|on sale|price match|better price|loyalty points"
    ),
    *_rules(
        Intent.PRODUCT_QUESTION,
        r"(?:does|is|are|do|will|can|would) (?:this|it|these|the|your)(?:\W+\w+){0,4}\W+"
        r"(?:compatible|fits?|work with|suitable|safe|waterproof|washable|vegan|made|come with|available)",
        r"(?<!back )in stock",
        r"how (?:do|does|can|should) (?:i|it|you|this|one) (?:use|clean|wash|assemble|install|set up|work|care)",
        r"which (?:one|size|model|colou?r)|what (?:size|material|colou?r|dimensions|ingredients)",
        r"recommend|instructions|manual",
    ),
    *_rules(
        Intent.COMPLAINT,
        r"terrible|awful|unacceptable|disappointed|disappointing|frustrated|frustrating|angry|furious|ridiculous|worst",
        r"complain|complaint|poor service|bad service|fed up|upset",
        r"speak (?:to|with) (?:a |your )?(?:manager|supervisor)",
        r"disgusted|appalling|useless|unhappy|not happy|not satisfied|nobody (?:answers|replies|responds)",
    ),
    *_rules(Intent.THANKS, r"thank you|thanks|thx|cheers|much appreciated|great service|perfect"),
)

_NEGATION = re.compile(rf"\b(?:{_NOT}|no|nothing|none|nobody|without|neither|nor)\b")
_CLAUSE = re.compile(r"[.!?;:,\n]|\b(?:but|however|although|because|so)\b")
_REACH = 5
"""How many words before a phrase a negation may stand and still mean it."""
_LOOK_BACK = 200
"""How many characters before a phrase are looked at for that: a long message must not be read again at each phrase."""

_EXCLAMATIONS = re.compile(
    r"\b(?:can't|cannot|can not|couldn't) (?:believe|wait)\b|\bnot only\b|\bno (?:idea|wonder|doubt)\b"
)


def detect(text: str) -> tuple[Intent, ...]:
    """Return what a text is about, the most pressing first; never empty."""
    plain = _normalised(text)
    found = {rule.intent for rule in _RULES if any(_holds(rule, plain, match) for match in rule.phrase.finditer(plain))}
    # A parcel that did not come explains why somebody asks where it is, and an account is not an order.
    if Intent.CANCEL_ACCOUNT in found and not re.search(r"\border\b", plain):
        found.discard(Intent.CANCEL_ORDER)
    if len(found) > 1:
        found.discard(Intent.THANKS)
    return tuple(intent for intent in Intent if intent in found) or (Intent.GENERAL,)


def _normalised(text: str) -> str:
    """Return the text in lower case, with straight apostrophes and without phrases that only look like negations."""
    plain = text.lower().replace("\u2019", "'").replace("\u2018", "'").replace("`", "'")
    return _EXCLAMATIONS.sub(" ", re.sub(r"[ \t]+", " ", plain))


def _holds(rule: _Rule, plain: str, match: re.Match[str]) -> bool:
    """Tell whether a phrase is meant and not denied."""
    if not rule.negatable:
        return True
    return _NEGATION.search(words_before(plain, match.start(), _CLAUSE)) is None


def words_before(plain: str, start: int, clause: re.Pattern[str]) -> str:
    """Return the last words before a place, within its clause: those that a negation must stand in to deny it."""
    return " ".join(clause.split(plain[max(0, start - _LOOK_BACK) : start])[-1].split()[-_REACH:])
