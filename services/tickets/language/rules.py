"""Rules on a text: phrases that show an intent, hurry or anger, found on whole words and not where they are denied.

A rule is a phrase of whole words: `a/b` means either word, `_` up to two words of any kind. A phrase counts only where
no negation governs it: in the same clause, at most four words before. A wish that could not be fulfilled ("couldn't
cancel", "haven't received my refund", "don't forget to cancel") is no denial of it. Saying a thing again adds nothing,
and shouting neither. The rules are English.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice

# From the most pressing to the least: a text that holds several has the first as its intent.
INTENT_RULES: dict[str, str] = {
    "payment": (
        "chargeback/chargebacks, charge back, charged twice/double, double charged, unauthorized/unauthorised charge, "
        "fraud/fraudulent, payment/card/transaction was/is/got declined/rejected/refused, payment failed, "
        "wrong amount, billed twice, dispute _ charge/payment/transaction"
    ),
    "damaged": (
        "damaged, broken, defective, faulty, cracked, shattered, torn, smashed, leaking, dented, does/did not work, "
        "doesn't/didn't work, doesn't turn on, stopped working, not working, fell apart, falling apart, came apart"
    ),
    "wrong_or_missing_item": (
        "missing item/items/part/parts/piece/pieces, item/items/part/parts is/are missing, is missing from, "
        "wrong item/items/product/size/color/colour/order/one, not in the box, item not in box, "
        "incomplete order, not what i ordered, instead of what i ordered, only received/got one/half/part, "
        "received/sent/got _ wrong"
    ),
    "cancel": "cancel _ order/orders/purchase/it, cancel order, order cancelled/canceled, cancellation, cancel this",
    "change_address": (
        "change/edit/update/correct _ address, wrong address, incorrect address, address is wrong/incorrect, "
        "address was wrong/incorrect, ship/send/deliver _ to _ different/another/new address, old address, "
        "ship/send/deliver to _ different/another/new address"
    ),
    "change_order": (
        "change/edit/modify/amend/update _ order, add _ to my order, swap _ item/size/color/colour, "
        "change _ size/color/colour/quantity, wrong item ordered, ordered the wrong, ordered _ by mistake"
    ),
    "refund": "refund/refunds/refunded, money back, reimburse/reimbursed/reimbursement, my money",
    "return": "return/returns/returning, send it/them/this back, exchange, return label, rma",
    "order_status": (
        "where is/are my, where's my, tracking, track my, status of my, order status, delivery status, "
        "hasn't/haven't/hasnt/havent arrived/come/shipped, has/have not arrived/come/shipped, not arrived, "
        "haven't/havent received/gotten, have not received, didn't/didnt receive/arrive, did not receive/arrive, "
        "never arrived/came/received, was/is/got lost, still waiting, delayed/late, when will, "
        "when does/is/do, arrive/arrives/delivered by, shipped yet, delivery date, parcel/package is lost, delivery"
    ),
    "account": (
        "log/sign in, login, password, my account, close/delete _ account, cancel _ account/subscription/membership, "
        "unsubscribe, newsletter"
    ),
    "product_question": (
        "how do/does/can i/it/this, is it/this compatible, compatible with, in stock, back in stock, restock, "
        "what size, which size, size chart, instructions, ingredients, material, dimensions, do you sell/have/carry, "
        "recommend, difference between"
    ),
}
_URGENT = (
    "urgent/urgently, asap, as soon as possible, immediately, right away, right now, emergency, today, tonight, "
    "tomorrow, deadline, before it ships, running out of time, time sensitive, hurry, need it by, need this by, "
    "birthday, wedding"
)
_THREATS = (
    "lawyer/lawyers/attorney, legal action, small claims, sue, chargeback/chargebacks, charge back, "
    "scam/scammers/scammed, fraud, police, consumer protection, trading standards, dispute _ charge, "
    "report you, social media"
)
# Somebody was or can get hurt or ill, or goes without what is needed to live.
_DANGER = (
    "fire, flames, smoke/smokes/smoking, burning, burnt/burned, smell/smells of gas/burning/smoke/burnt, sparks, "
    "exploded/explodes/explode, splinter/splinters, allergic/allergy, swallowed, choked/choking, "
    "poison/poisonous/toxic, bleeding, injured, got/been hurt, electric shock, a/an _ shock, dangerous, "
    "medication/medicine, insulin, oxygen"
)
_WAITING = (
    "still waiting, second/third/fourth/fifth time, several times, no reply/response/answer, nobody answers/answered, "
    "weeks ago, for weeks, how much longer"
)
_PRESSING_INTENTS = {"cancel": 0.5, "change_address": 0.5, "change_order": 0.4, "payment": 0.5, "damaged": 0.3}
_UPSET = (
    "angry, furious, outraged, livid, disappointed/disappointing, frustrated/frustrating, upset, unhappy, "
    "annoyed/annoying, terrible, awful, horrible, appalling, disgusted/disgusting, unacceptable, ridiculous, joke, "
    "useless, worst, pathetic, rude, scam, liars, lied, ripped off, rip off, fed up, sick of, never again, waste of, "
    "can't believe, cannot believe, \U0001f621, \U0001f92c, \U0001f620, \U0001f624"
)
_PLEASED = (
    "happy, great, love/loved, excellent, perfect, wonderful, amazing, satisfied, pleased, fantastic, awesome, good, "
    "helpful, impressed"
)
_NEGATORS = frozenset(
    {"not", "no", "never", "nothing", "none", "without", "cannot", "hardly", "neither", "nor"}
    | {"cant", "dont", "doesnt", "didnt", "isnt", "wasnt", "arent", "werent"}
)
_PRONOUNS = frozenset({"you", "i", "we", "they", "it", "he", "she"})
_SCOPE_ENDS = frozenset({"but", "so", "please", "because", "and", "just", "only", "then", "instead", "kindly", "hence"})
_SCOPE = 4
MOST_PLACES = 50
"""In how many places of a clause a phrase is looked at."""
# What is denied with these did not happen, although it was wanted; unless it is the wish that is denied.
_FAILURES = frozenset(
    {"can't", "cant", "cannot", "couldn't", "couldnt", "haven't", "havent", "hasn't", "hasnt", "hadn't", "hadnt"}
)
_HAPPENINGS = frozenset({"receive", "received", "get", "got", "gotten", "able", "unable", "forget", "seen", "managed"})
_WISHES = frozenset({"want", "wanted", "ask", "asked", "asking", "request", "requested"})
_PERFECT = frozenset({"have", "has", "had"})
# That nothing is broken is told, not wished for.
_STATES = frozenset({"damaged", "threat", "danger", "urgent", "waiting", "upset", "pleased"})

_KINDS = {
    **INTENT_RULES,
    "threat": _THREATS,
    "danger": _DANGER,
    "urgent": _URGENT,
    "waiting": _WAITING,
    "upset": _UPSET,
    "pleased": _PLEASED,
}


@dataclass(frozen=True, slots=True)
class Found:
    """What the rules found: of each kind the phrases that count, and those that stand there only denied."""

    plain: dict[str, list[str]] = field(default_factory=dict)
    denied: dict[str, list[str]] = field(default_factory=dict)

    @property
    def intents(self) -> tuple[str, ...]:
        """The intents of which a phrase counts, the most pressing first."""
        return tuple(name for name in INTENT_RULES if name in self.plain)

    @property
    def denied_intents(self) -> tuple[str, ...]:
        """The intents that are named only to deny them."""
        return tuple(name for name in INTENT_RULES if name in self.denied and name not in self.plain)


def compiled(phrase: str) -> re.Pattern[str]:
    """Return the pattern of a phrase, to be searched for in clauses."""
    pattern = ""
    for word in phrase.split():
        if word == "_":
            pattern += r"(?: [^ ]+){0,2}"
        else:
            either = "|".join(re.escape(one) for one in word.split("/"))
            pattern += f" (?:{either})"
    return re.compile(f"{pattern}(?= )")


@cache
def _by_first_word() -> dict[str, tuple[tuple[str, int, re.Pattern[str]], ...]]:
    """Return the phrases by the words that they can begin with: most texts have few of them."""
    found: dict[str, list[tuple[str, int, re.Pattern[str]]]] = {}
    for kind, rules in _KINDS.items():
        for number, phrase in enumerate(rules.split(", ")):
            pattern = compiled(phrase)
            for first in phrase.split()[0].split("/"):
                found.setdefault(first, []).append((kind, number, pattern))
    return {first: tuple(phrases) for first, phrases in found.items()}


def find(clauses: Sequence[str]) -> Found:
    """Return what the rules find in clauses (see `reading.clauses`)."""
    phrases = _by_first_word()
    hits: dict[tuple[str, int], tuple[str, bool]] = {}
    for clause in clauses:
        for word in dict.fromkeys(clause.split()):
            for kind, number, pattern in phrases.get(word, ()):
                for match in islice(pattern.finditer(clause), MOST_PLACES):
                    is_denied = negated(clause, match.start(), is_state=kind in _STATES)
                    known = hits.get((kind, number))
                    if known is None or (known[1] and not is_denied):
                        hits[kind, number] = match[0].strip(), is_denied
    found = Found()
    for (kind, _), (phrase, is_denied) in sorted(hits.items()):
        (found.denied if is_denied else found.plain).setdefault(kind, []).append(phrase)
    return found


def negated(clause: str, start: int, *, is_state: bool = False) -> bool:
    """Tell whether a negation governs what begins at `start`: no "please" in between, no question ("can't you").

    Unless it is a state of things (`is_state`), what was wanted and failed is not denied.
    """
    following = clause[start + 1 : clause.find(" ", start + 1)]
    if not following[0].isalnum():
        return False  # An emoji is not denied by what stands before it.
    before = _before(clause, start)
    for place, word in enumerate(before):
        negates = word in _NEGATORS or word.endswith("n't")
        if negates and following not in _PRONOUNS and following not in {"only", "just"}:
            return is_state or not _failed(word, before[:place], before)
        if word in _SCOPE_ENDS and word not in {"only", "just"}:
            return False
        following = word
    return False


def _failed(negator: str, between: Sequence[str], before: Sequence[str]) -> bool:
    """Tell whether a negation says that what was wanted did not come about."""
    if not _WISHES.isdisjoint(between):
        return False
    return negator in _FAILURES or not _HAPPENINGS.isdisjoint(between) or not _PERFECT.isdisjoint(before)


def _before(clause: str, start: int) -> list[str]:
    """Return the words before a place, the nearest first; no more of the clause is looked at."""
    found: list[str] = []
    while start > 0 and len(found) < _SCOPE:
        begin = clause.rfind(" ", 0, start)
        found.append(clause[begin + 1 : start])
        start = begin
    return found


def governed(words: Sequence[str]) -> list[str]:
    """Return the words of a clause that a negation governs."""
    found: list[str] = []
    left = 0
    for word in words:
        if word in _NEGATORS or word.endswith("n't"):
            left = _SCOPE
        elif word in _SCOPE_ENDS or word in _HAPPENINGS:
            left = 0
        elif left:
            left -= 1
            found.append(word)
    return found


def urgency(found: Found) -> tuple[float, tuple[str, ...]]:
    """Return how much the text presses for time: the strongest sign, and a little for each further kind of sign."""
    signs = [
        (strength, found.plain[kind])
        for kind, strength in (
            ("danger", 0.9),
            ("threat", 0.8),
            ("urgent", 0.6),
            ("waiting", 0.3),
            *_PRESSING_INTENTS.items(),
        )
        if kind in found.plain
    ]
    if not signs:
        return 0.0, ()
    signs.sort(key=lambda sign: -sign[0])
    strength = signs[0][0] + 0.1 * min(len(signs) - 1, 2)
    return round(min(strength, 1.0), 2), _unique(phrase for _, phrases in signs for phrase in phrases)[:5]


def upset(found: Found, *, exclaims: bool) -> tuple[float, tuple[str, ...]]:
    """Return how upset the text sounds; a negated praise ("not happy") counts as a complaint."""
    complaints = [*found.plain.get("upset", ()), *(f"not {phrase}" for phrase in found.denied.get("pleased", ()))]
    strength = min(0.4 + 0.2 * (len(complaints) - 1), 0.85) if complaints else 0.0
    strength -= 0.25 * ("pleased" in found.plain)
    strength = max(strength, 0.0) + (0.05 if exclaims and complaints else 0.0)
    return round(min(strength, 1.0), 2), _unique(complaints)[:5]


def _unique(phrases: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(phrases))
