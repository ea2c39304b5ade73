"""What stands in for names, addresses and numbers on their way to a provider, and is taken out again on the way back.

Every e-mail address, link, telephone number, card or account number, postal address and long number goes, whoever wrote
it; so do the names and references that the shop knows. What a name is in somebody else's words can only be guessed.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Literal

Kind = Literal["NAME", "ORDER", "PARCEL", "LINK", "EMAIL", "NUMBER", "ADDRESS"]

PLACEHOLDER = re.compile(r"\[(?:NAME|ORDER|PARCEL|LINK|EMAIL|NUMBER|ADDRESS)_\d{1,3}\]")
"""How a stand-in looks."""

_FORGED = re.compile(r"\[\s*(\w+)_(\d+)\s*\]")
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f"
    r"\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)
_BREAKS = re.compile(r"[^\S\n]+")

# Letters of names, and what stands between them; \u2019 is the curly apostrophe.
_WORD = r"[^\W\d_][\w'\u2019.-]*"
_PROPER = r"[A-ZÀ-ÖØ-ÞŠŽŁ][\w'\u2019-]+"
_PROPERS = rf"({_PROPER}(?:\s+{_PROPER}){{0,3}})"
_AT = r"(?:@|\s?(?:\(at\)|\[at\]|\{at\})\s?|\sat\s)"
_DOT = r"(?:\.|\s?(?:\(dot\)|\[dot\]|\{dot\})\s?|\sdot\s)"
_EMAIL = re.compile(rf"[\w.+%-]{{1,64}}{_AT}[\w-]{{1,63}}(?:{_DOT}[\w-]{{2,63}}){{1,5}}", re.IGNORECASE)
_LINK = re.compile(r"(?:\b[a-z][a-z0-9+.-]{1,20}://|\bwww\.)[^\s<>\"']*[^\s<>\"').,;:!?\]]", re.IGNORECASE)
_ENDINGS = (
    "com|net|org|io|shop|store|info|biz|co|uk|de|fr|eu|at|ch|ru|cn|xyz|top|link|app|dev|example|test|ly|me|es|it|nl|pl"
)
_SITE = re.compile(rf"(?<![a-z0-9-])(?:[a-z0-9-]{{1,63}}\.){{1,10}}(?:{_ENDINGS})\b(?:/[^\s<>\"']*)?", re.IGNORECASE)
_ACCOUNT = re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{2,4}){3,8}\b")
_LONG_NUMBER = re.compile(r"\+?\(?\d(?:[ ().\-/]{0,3}\d){6,}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[./-]\d{1,2}[./-]\d{4}")
_DIGITS = "zero|oh|one|two|three|four|five|six|seven|eight|nine|double|triple"
_SPELLED = re.compile(rf"\b(?:(?:{_DIGITS})[\s,-]+){{6,}}\w+", re.IGNORECASE)
_STREETS = (
    r"street|st\.?|road|rd\.?|avenue|ave\.?|lane|ln\.?|drive|dr\.?|boulevard|blvd\.?|court|ct\.?|way|place|square|"
    r"terrace|close|crescent|gardens|mews|parkway|pkwy\.?|highway|hwy\.?"
)
_GERMAN_STREETS = "straße|strasse|str\\.|weg|gasse|platz|allee|damm|ufer"
_FRENCH_STREETS = "rue|avenue|av\\.|boulevard|bd|chemin|impasse|place|allée|quai|route|cours"
_REST = r"[^\n;!?]{0,80}"
"""Flat, town and country follow the street, to the end of the line."""
_ADDRESSES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?i)\b\d{{1,5}}[a-z]?,?\s+(?:[\w'\u2019.-]+\s+){{1,4}}(?:{_STREETS})(?![\w]){_REST}",
        rf"(?i)(?<![\w-])[\w-]{{0,80}}(?:{_GERMAN_STREETS})\s+\d{{1,4}}\s?[a-z]?\b{_REST}",
        rf"(?i)\b\d{{1,4}}(?:\s?(?:bis|ter))?,?\s+(?:{_FRENCH_STREETS})\s[^\n;!?]{{2,80}}",
        rf"(?i)\b(?:calle|via|viale|piazza|rua|avenida|plaza)\s+[^\n,;!?]{{2,40}},?\s+\d{{1,4}}\b{_REST}",
        rf"(?i)\b(?:p\.?\s?o\.?\s?box|postfach|boîte postale|b\.?p\.?)\s?\d{{1,6}}\b{_REST}",
        r"\b(?:[A-Z]-)?\d{5}(?:-\d{4})?\s+[A-ZÄÖÜÉ][\w'\u2019-]+(?:\s[A-ZÄÖÜÉ][\w'\u2019-]+)?",
        r"\b[A-Z]{2}\s+\d{5}(?:-\d{4})?\b",
        r"\b[A-Z]{1,2}\d[A-Z\d]?\s*\d[A-Z]{2}\b",
        r"\b\d{4}\s?[A-Z]{2}\b(?:\s[A-Z][\w'\u2019-]+)?",
        r"(?i)\b(?:address|anschrift|adresse)(?:\s+(?:is|ist|lautet|est))?\s*[:=]\s*\n?[^\n;!?]{3,80}",
    )
)
_INTRODUCTIONS = "my name is|name's|this is|i am called|mein name ist|ich heiße|ich heisse|je m['\u2019]appelle"
_TITLES = "Mr|Mrs|Ms|Miss|Dr|Prof|Herr|Frau|Mme|Monsieur|Madame|Señor|Señora"
_SIGN_OFFS = (
    "(?:kind|best|warm|many)?\\s*regards|best wishes|best|thanks|thank you|many thanks|cheers|sincerely|love|"
    "yours(?: sincerely| truly| faithfully)?|(?:viele|liebe|beste|freundliche|mit freundlichen)\\s+grüßen?|mfg|lg|gruß|"
    "cordialement|bien à vous|merci|saludos"
)
_NAMES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?i:{_INTRODUCTIONS})\s+{_PROPERS}",
        rf"\b(?:{_TITLES})\.?\s+{_PROPERS}",
        rf"(?m:\b(?i:{_SIGN_OFFS})[,.!]*\s*{_PROPERS}\s*$)",
        rf"(?m:^[^\S\n]*[-\u2013\u2014~]{{1,9}}\s*{_PROPERS}\s*$)",
        rf"\n[^\S\n]*{_PROPERS}\s*\Z",
    )
)
_PLAIN_NAMES = frozenset(
    re.findall(
        r"\w+",
        """april art august best bill black bob brown da day de den der di do faith field good grace gray green grey
        hope joy june king la le long love mark max may my north page park pat price rice rich rob rose short small
        stone sue summer sunny van von wells west white will wood young zu
        and company customer for from guest of order shop test the unknown your""",
    )
)
"""Names that are words as well: they are replaced only where they are written with a capital."""

_SHORTEST_LOOSE = 3


class Pseudonyms:
    """The stand-ins of one exchange with a model. The same words get the same stand-in."""

    def __init__(self) -> None:
        self._originals: dict[str, str] = {}
        self._by_word: dict[tuple[Kind, str], str] = {}
        self._known: list[tuple[re.Pattern[str], Kind]] = []

    def learn(self, kind: Kind, words: Iterable[str]) -> None:
        """Take note of words that have to go wherever they stand, the longest first."""
        for word in sorted({clean(word).strip() for word in words}, key=len, reverse=True):
            if word:
                self._known.append(
                    (re.compile(rf"(?<![^\W_]){re.escape(word)}(?:-\w+)*(?![^\W_])", re.IGNORECASE), kind)
                )

    def learn_name(self, name: str) -> None:
        """Take note of a person's name, whole and in its parts, however put together ("Silva, Maria (VIP)")."""
        self.learn("NAME", [name])
        whole = clean(name)
        parts = dict.fromkeys((*re.findall(_WORD, whole), *re.findall(r"[^\W\d_]+", whole)))
        for part in sorted(parts, key=len, reverse=True):
            loose = len(part) >= _SHORTEST_LOOSE and part.lower() not in _PLAIN_NAMES
            if loose:
                self.learn("NAME", [part])
            elif len(part) > 1:
                self._known.append((re.compile(rf"(?<![^\W_]){re.escape(part.capitalize())}(?![^\W_])"), "NAME"))

    def learn_contact(self, email: str, phone: str) -> None:
        """Take note of a person's e-mail address, whole and by what stands before its @, and telephone number."""
        self.learn("EMAIL", [email])
        box = email.partition("@")[0]
        if not box.isalpha():
            self.learn("NAME", [box])
        self.learn("NUMBER", [phone, re.sub(r"\D", "", phone)])

    def hide(self, text: str, *, guess_names: bool = False) -> str:
        """Return a text with stand-ins; `guess_names` looks for signatures and introductions as well."""
        hidden = _FORGED.sub(r"(\1 \2)", clean(text))
        hidden = self._replace(_LINK, "LINK", hidden)
        hidden = self._replace(_EMAIL, "EMAIL", hidden)
        hidden = self._replace(_SITE, "LINK", hidden)
        for known, kind in self._known:
            hidden = self._replace(known, kind, hidden)
        for address in _ADDRESSES:
            hidden = self._replace(address, "ADDRESS", hidden)
        for pattern in (_ACCOUNT, _SPELLED, _LONG_NUMBER):
            hidden = self._replace(pattern, "NUMBER", hidden)
        if guess_names:
            for name in _NAMES:
                hidden = name.sub(self._in_group, hidden)
        return hidden

    def restore(self, text: str) -> str:
        """Return a text with what its stand-ins stand for.

        Raises:
            KeyError: there is a stand-in that was never given out.
        """
        return PLACEHOLDER.sub(lambda met: self._originals[met[0]], text)

    def leaks(self, text: str) -> bool:
        """Tell whether a text that is about to be sent still holds something that has to go."""
        patterns = (_LINK, _EMAIL, _SITE, _ACCOUNT, _SPELLED, _LONG_NUMBER, *(known for known, _ in self._known))
        bare = PLACEHOLDER.sub(" ", clean(text))
        return any(self._met(pattern, bare) for pattern in patterns)

    def _met(self, pattern: re.Pattern[str], text: str) -> bool:
        return any(not _harmless(met[0]) for met in pattern.finditer(text))

    def _replace(self, pattern: re.Pattern[str], kind: Kind, text: str) -> str:
        """Replace what a pattern meets outside of stand-ins."""
        parts = re.split(f"({PLACEHOLDER.pattern})", text)
        swap: Callable[[re.Match[str]], str] = lambda met: (  # noqa: E731 - it is used in one expression only
            met[0] if _harmless(met[0]) else self._words_replaced(kind, met[0])
        )
        return "".join(part if PLACEHOLDER.fullmatch(part) else pattern.sub(swap, part) for part in parts)

    def _in_group(self, met: re.Match[str]) -> str:
        start, end = met.start(1) - met.start(), met.end(1) - met.start()
        whole = met[0]
        return whole[:start] + self._stand_in("NAME", met[1]) + whole[end:]

    def _words_replaced(self, kind: Kind, found: str) -> str:
        """Replace words and leave the spaces around them: elsewhere the same words may stand without."""
        words = found.strip()
        return found.replace(words, self._stand_in(kind, words))

    def _stand_in(self, kind: Kind, original: str) -> str:
        key = (kind, " ".join(original.casefold().split()))
        if key not in self._by_word:
            number = 1 + sum(known == kind for known, _ in self._by_word)
            self._by_word[key] = f"[{kind}_{number}]"
            self._originals[f"[{kind}_{number}]"] = original
        return self._by_word[key]


def clean(text: str) -> str:
    """Return a text in plain characters: compatible forms folded, nothing invisible, spaces single."""
    folded = unicodedata.normalize("NFKC", text)
    return _BREAKS.sub(" ", _INVISIBLE.sub("", folded))


def _harmless(found: str) -> bool:
    """Tell whether what looks like a long number is a date."""
    return _DATE.fullmatch(found.strip()) is not None
