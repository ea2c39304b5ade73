"""What of the shop's own articles and policies is quoted: the sentence that speaks of what the customer wrote about.

A sentence is quoted as it stands and with its source, never put in other words. One that makes an offer is quoted from
policies alone, and only where an offer is asked for. One that speaks to a machine instead of to people is not quoted.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.recommendations import plain, sentences
from services.recommendations.case import Case, Passage

_LEAST_SHARED = 2
_SHORTEST, _LONGEST = 20, 280
_STEM = 5
_WORD = re.compile(r"[^\W_]{4,}")
_VALUE = r"(?:\d[\d.,]*\s?(?:%|[€$£¥]|eur\b|usd\b|gbp\b|chf\b|euros?\b|dollars?\b|pounds?\b)|[€$£¥]\s?\d[\d.,]*)"
_OFFER_WORD = re.compile(
    rf"\b(?:discount|coupon|voucher|promo|rebate|rabatt|nachlass|gutschein|ermäßig|remise|réduction)\w*|{_VALUE}\s?off\b"
    r"|\b(?:save|spare|sparen|économisez)\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"\b(?:[Cc]odes?|\w+code)\s[“„\"'«]?\s?[A-Z][A-Z0-9-]{3,}\b")
_AMOUNT = re.compile(_VALUE, re.IGNORECASE)
_NO_OFFER = re.compile(
    r"\b(?:no|not|never|none|neither|nor|cannot|without|instead|kein\w*|nicht|nie|niemals|ohne|"
    r"pas|jamais|aucune?|sans|ni)\b|n['\u2019]t\b"
    r"|\b(?:fees?|surcharges?|charges?|charged|deduct\w*|deposit|tax|taxes|vat|duty|duties|"
    r"\w*gebühr\w*|aufschlag|zuschlag|abzug|\w*steuer|mwst|frais|supplément|taxes?|tva|"
    r"cotton|wool|linen|silk|polyester|leather|\w*baumwolle|\w*wolle|leinen|seide|leder|coton|laine|soie|cuir|"
    r"postal|post\s?codes?|zip|postleitzahl|plz|qr\W?code|bar\s?codes?)\b",
    re.IGNORECASE,
)
"""What denies an offer, or makes a percentage or a code something else."""

_TO_A_MACHINE = re.compile(
    r"\b(?:ignore|disregard|override|prompt|assistant|chatbot|language model|llm|ai|instructions?|system|"
    r"api.?key|password|secret|internal|anweisung\w*|ignoriere\w*|ignorez|instruction\w*)\b",
    re.IGNORECASE,
)
_LINK = re.compile(r"(?:https?://|www\.)[^\s\"'<>)\]]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Quote:
    """A sentence of a passage."""

    passage: Passage
    sentence: str


def quotes(case: Case, language: str, *, most: int) -> tuple[Quote, ...]:
    """Return the sentences that speak of what the customer wrote about, the best first, one of each article."""
    said = {word[:_STEM] for word in case.words}
    ranked = sorted(
        (
            (len(said & _stems(sentence)), quote)
            for passage in case.passages
            for sentence in _sentences(passage, language)
            if not _speaks_of_offers(sentence)
            for quote in (Quote(passage, sentence),)
        ),
        key=lambda one: -one[0],
    )
    best: dict[str, Quote] = {}
    for shared, quote in ranked:
        if shared >= _LEAST_SHARED:
            best.setdefault(quote.passage.article_id, quote)
    return tuple(best.values())[:most]


def offer(case: Case, language: str) -> Quote | None:
    """Return the first sentence of a policy that makes an offer; None when no policy among the passages does."""
    found = (
        Quote(passage, sentence)
        for passage in case.passages
        if passage.kind == "policy"
        for sentence in _sentences(passage, language)
        if _makes_offer(sentence)
    )
    return next(found, None)


def _speaks_of_offers(sentence: str) -> bool:
    """Tell whether a sentence may be taken for an offer; what denies one, or names a fee or a material, may not."""
    return bool(_OFFER_WORD.search(sentence) or _CODE.search(sentence)) and not _NO_OFFER.search(sentence)


def _makes_offer(sentence: str) -> bool:
    """Tell whether a sentence says what is offered: how much, or the code that gives it."""
    return _speaks_of_offers(sentence) and bool(_AMOUNT.search(sentence) or _CODE.search(sentence))


def _sentences(passage: Passage, language: str) -> Iterator[str]:
    """Yield the sentences of a passage that may be quoted in a draft of a language."""
    if not plain.is_plain(passage.title) or passage.language != language:
        return
    for sentence in sentences.split(passage.text):
        if (
            _SHORTEST <= len(sentence) <= _LONGEST
            and sentence[-1] in ".!"
            and not _TO_A_MACHINE.search(sentence)
            and all(_host(link) == _host(passage.url) for link in _LINK.findall(sentence))
        ):
            yield sentence


def _stems(text: str) -> set[str]:
    """Return the beginnings of a text's longer words."""
    return {word[:_STEM] for word in _WORD.findall(text.lower())}


def _host(link: str) -> str:
    try:
        return urlsplit(link if "://" in link else f"https://{link}").hostname or ""
    except ValueError:
        return "?"
