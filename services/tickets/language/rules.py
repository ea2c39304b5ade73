"""What a customer's text says: intent, urgency, and how upset it sounds, by rules with bounded effect.

A rule is a phrase of whole words: `a/b` means either word, `_` up to two words of any kind. Text is lower-cased, curly
apostrophes are straightened, quoted replies are dropped, and a phrase counts only where no negation governs it: in the
same clause, at most four words before. Saying a thing again adds nothing, and shouting adds a bounded amount. The rules
are English; text in another language has the intent "other", no urgency and a calm tone, which all count as middling.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from services.tickets.alerts import words

MAX_ANALYSED = 20_000
"""The most characters of a text that the rules read."""

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
    "wrong_or_missing": (
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
INTENTS = (*INTENT_RULES, "other")
INTENT_TEXT = {
    "payment": "a payment problem",
    "damaged": "a damaged product",
    "wrong_or_missing": "a wrong or missing item",
    "cancel": "a cancellation",
    "change_address": "a change of address",
    "change_order": "a change of an order",
    "refund": "a refund",
    "return": "a return",
    "order_status": "a question about an order's status",
    "account": "an account matter",
    "product_question": "a product question",
    "other": "something else",
}
HANDLING_MINUTES = {
    "payment": 20.0,
    "damaged": 15.0,
    "wrong_or_missing": 15.0,
    "cancel": 6.0,
    "change_address": 5.0,
    "change_order": 8.0,
    "refund": 12.0,
    "return": 10.0,
    "order_status": 4.0,
    "account": 8.0,
    "product_question": 8.0,
    "other": 10.0,
}
"""How long a ticket of an intent takes to handle, in minutes, before the shop's own history says otherwise."""

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

_CLAUSE = re.compile(r"[.!?;:,\n()\"\u201c\u201d]+|\s[-\u2013\u2014]+\s")
_QUOTED = re.compile(
    r"^[ \t]*>[^\n]*$|^-{2,9}[ \t]*original message.*\Z|^on [^\n]{5,200} wrote:[ \t]*\n.*\Z",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
_EMOJI = re.compile("([\U0001f600-\U0001f64f\U0001f900-\U0001f9ff])")
_LOUD_LETTERS = 12
_LOUD_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Signals:
    """What the rules found.

    Attributes:
        intent: one of `INTENTS`, the most pressing that was found.
        intents: all that were found, most pressing first; several matters in one text are all kept.
        urgency: 0 (no hurry) to 1.
        urgent_words: the phrases that say so.
        upset: 0 (calm) to 1.
        upset_words: the phrases that say so.
        has_text: False when the customer has not written anything.
    """

    intent: str = "other"
    intents: tuple[str, ...] = ()
    urgency: float = 0.0
    urgent_words: tuple[str, ...] = ()
    upset: float = 0.0
    upset_words: tuple[str, ...] = ()
    has_text: bool = False


def analyse(subject: str, messages: Sequence[str]) -> Signals:
    """Return what a ticket's subject and the customer's messages, newest first, say.

    The newest message decides; the earlier ones are asked for the intent only where it has none. Time and effect are
    bounded whatever the text: of each message only the first 20,000 characters are read.
    """
    texts = [_without_quotes(message[:MAX_ANALYSED]) for message in messages] or [""]
    text = texts[0]
    clauses = list(_clauses(f"{subject}\n{text}"))
    intents = _intents(clauses)
    for earlier in texts[1:]:
        intents = intents or _intents(list(_clauses(earlier)))
    loud = _is_loud(text)
    urgency, urgent_words = _urgency(clauses, intents, loud=loud)
    upset, upset_words = _upset(clauses, loud=loud, exclaims="!!" in text)
    return Signals(
        intent=intents[0] if intents else "other",
        intents=intents,
        urgency=urgency,
        urgent_words=urgent_words,
        upset=upset,
        upset_words=upset_words,
        has_text=bool(messages),
    )


def _without_quotes(text: str) -> str:
    """Drop quoted lines and everything below the head of a quoted mail; a text that is all quotation stays."""
    kept = _QUOTED.sub("", text)
    return kept if kept.strip() else text


def _clauses(text: str) -> Iterator[str]:
    """Yield the clauses of a text as words with a blank before and after each."""
    for clause in _CLAUSE.split(text):
        found: list[str] = []
        for piece in _EMOJI.split(clause):
            found.extend([piece] if _EMOJI.fullmatch(piece) else words(piece))
        if found:
            yield f" {' '.join(found)} "


@cache
def _patterns(rules: str) -> tuple[re.Pattern[str], ...]:
    """Compile a list of phrases, once."""
    compiled = []
    for phrase in rules.split(", "):
        pattern = ""
        for word in phrase.split():
            if word == "_":
                pattern += r"(?: [^ ]+){0,2}"
            else:
                either = "|".join(re.escape(one) for one in word.split("/"))
                pattern += f" (?:{either})"
        compiled.append(re.compile(f"{pattern}(?= )"))
    return tuple(compiled)


def _negated(clause: str, start: int) -> bool:
    """Tell whether a negation governs what begins at `start`: no "please" in between, no question ("can't you")."""
    following = clause[start:].split(maxsplit=1)[0]
    for word in reversed(clause[:start].split()[-_SCOPE:]):
        negates = word in _NEGATORS or word.endswith("n't")
        if negates and following not in _PRONOUNS and following not in {"only", "just"}:
            return True
        if word in _SCOPE_ENDS and word not in {"only", "just"}:
            return False
        following = word
    return False


def _hits(rules: str, clauses: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield each phrase of the list that stands in the text, with whether it is negated everywhere it stands."""
    for pattern in _patterns(rules):
        found = [(match, clause) for clause in clauses for match in pattern.finditer(clause)]
        plain = next((match for match, clause in found if not _negated(clause, match.start())), None)
        if found:
            yield (plain or found[0][0])[0].strip(), plain is None


def _found(rules: str, clauses: Sequence[str]) -> list[str]:
    """Return the phrases of the list that stand in the text and are not negated."""
    return [phrase for phrase, negated in _hits(rules, clauses) if not negated]


def _intents(clauses: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name, rules in INTENT_RULES.items() if _found(rules, clauses))


def _unique(phrases: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(phrases))


def _urgency(clauses: Sequence[str], intents: Sequence[str], *, loud: bool) -> tuple[float, tuple[str, ...]]:
    """Return how much the text presses for time: the strongest sign, and a little for each further kind of sign."""
    signs: list[tuple[float, list[str]]] = []
    for strength, rules in ((0.8, _THREATS), (0.6, _URGENT), (0.3, _WAITING)):
        if found := _found(rules, clauses):
            signs.append((strength, found))
    pressing = [intent for intent in intents if intent in _PRESSING_INTENTS]
    signs.extend((_PRESSING_INTENTS[intent], _found(INTENT_RULES[intent], clauses)) for intent in pressing)
    if not signs:
        return 0.0, ()
    signs.sort(key=lambda sign: -sign[0])
    strength = signs[0][0] + 0.1 * min(len(signs) - 1, 2) + (0.05 if loud else 0.0)
    return round(min(strength, 1.0), 2), _unique(phrase for _, found in signs for phrase in found)[:5]


def _upset(clauses: Sequence[str], *, loud: bool, exclaims: bool) -> tuple[float, tuple[str, ...]]:
    """Return how upset the text sounds; a negated praise ("not happy") counts as a complaint."""
    complaints = _found(_UPSET, clauses)
    praise = list(_hits(_PLEASED, clauses))
    complaints += [f"not {phrase}" for phrase, negated in praise if negated]
    strength = min(0.4 + 0.2 * (len(complaints) - 1), 0.85) if complaints else 0.0
    strength -= 0.25 * bool([phrase for phrase, negated in praise if not negated])
    strength = max(strength, 0.0) + (0.1 if loud else 0.0) + (0.05 if exclaims and complaints else 0.0)
    return round(min(strength, 1.0), 2), _unique(complaints)[:5]


def _is_loud(text: str) -> bool:
    """Tell whether a text is shouted: at least twelve letters, most of them capitals."""
    letters = [letter for letter in text if letter.isalpha() and letter.lower() != letter.upper()]
    capitals = sum(letter.isupper() for letter in letters)
    return len(letters) >= _LOUD_LETTERS and capitals >= _LOUD_SHARE * len(letters)
