"""Whether a model's sentence may stand in a draft. Code decides, by words and numbers; no model is asked.

A sentence is read clause by clause. What it states - a number, a date, money, a link, where a parcel is, when something
comes - must stand in the facts that it cites, and they must speak of the same thing. What it promises must stand word
for word in one of them, and that is one of our own sentences or of the order's facts; articles and policies may only be
quoted. All other words must be those of courtesy, so that nothing is slipped in that no rule has thought of. The price
is that some good sentences are refused; the rules' own draft stands in their place.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from services.recommendations.writers import atoms
from services.recommendations.writers.pseudonyms import PLACEHOLDER
from services.recommendations.writers.vocabulary import Vocabulary, Words, alike, vocabulary, words

GroundKind = Literal["order", "parcel", "customer", "product", "policy", "article", "draft"]

_LONGEST = 400
_FORM = re.compile(r"[<>{}|\\^~*_#`=@\n\r\t]|\[|\]|://")
_SHOUT = re.compile(r"\b[A-ZÀ-ÖØ-Þ]{4,}\b")
_CLAUSE = re.compile(
    r"(?<=[.!?])\s+|,(?!\s*\d)\s*|[;:()\u2013\u2014\u2026]\s*|\s-\s|\s(?:and|but|while|because|und|aber|et|mais)\s",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])[\u201d\u201c\u00bb\"']?\s+")
_QUOTED = ("policy", "article")
_MARK = "\u2022"


@dataclass(frozen=True, slots=True)
class Ground:
    """Something that a sentence may rest on: a fact, or a sentence of the rules' own draft (kind "draft")."""

    id: str
    kind: GroundKind
    text: str


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence of a model's answer, with the ids of what it says that it rests on."""

    text: str
    cites: tuple[str, ...]


class Checker:
    """Checks sentences in a language against what is known."""

    def __init__(self, language: str, grounds: Iterable[Ground]) -> None:
        self._words = vocabulary(language)
        self._grounds = {ground.id: ground for ground in grounds}
        self._english = vocabulary("en")
        self._read = {ground.id: self._clauses(ground.text) for ground in self._grounds.values()}

    def fault(self, said: Said) -> str:
        """Return what is wrong with a sentence, in words that a model can act on; empty when nothing is."""
        if form := self._form(said):
            return form
        cited = [self._grounds[name] for name in said.cites]
        text = said.text
        for ground in cited:
            if ground.kind in _QUOTED:
                # What is quoted word for word is the shop's own statement; only the words around it are looked at.
                text = _without_quotes(text, ground.text)
        for clause in self._clauses(text):
            if fault := self._clause(clause, said.cites):
                return fault
        return ""

    def _clauses(self, text: str) -> list["_Clause"]:
        """Take a text apart, sentence by sentence and those clause by clause."""
        found = []
        for sentence in _SENTENCE.split(text):
            said = words(sentence)
            hedges = frozenset(word for word in said if word in self._words.hedges)
            found += [
                _Clause.of(part, self._words, hedges) for part in _CLAUSE.split(sentence) if part and part.strip()
            ]
        return found

    def _any(self, name: str, clause: "_Clause") -> bool:
        """Tell whether a clause holds a word of a list, in the draft's language or in English."""
        lists: tuple[Words, ...] = (getattr(self._words, name), getattr(self._english, name))
        return any(word in listed for listed in lists for word in clause.words)

    def _form(self, said: Said) -> str:
        text = said.text
        if not text.strip() or len(text) > _LONGEST:
            return f"is empty or longer than {_LONGEST} characters"
        bare = PLACEHOLDER.sub(" ", text)
        if _FORM.search(bare) or any(unicodedata.category(char) in {"So", "Cc", "Cf", "Co", "Cs"} for char in bare):
            return "holds markup, a link that no fact has, or a symbol; write plain text"
        if unknown := [name for name in said.cites if name not in self._grounds]:
            return f"cites what is not there: {', '.join(unknown[:3])[:60]}"
        cited = " ".join(self._grounds[name].text for name in said.cites)
        if any(word not in cited for word in _SHOUT.findall(bare)):
            return "shouts in capitals"
        return ""

    def _clause(self, clause: "_Clause", cites: Sequence[str]) -> str:
        known = self._words
        for name in ("secrets", "meta"):
            if self._any(name, clause) and self._promise(clause, cites):
                return f"speaks of what a draft never speaks of ({name})"
        if self._any("promises", clause):
            return self._promise(clause, cites)
        if clause.atoms or self._any("states", clause) or self._any("times", clause):
            return self._statement(clause, cites)
        if _speaks_of_a_subject(clause.words, known) and not self._any("sorry", clause):
            return self._statement(clause, cites)
        allowed = known.known
        return self._uncovered(clause, cites, lambda word: word in allowed)

    def _statement(self, clause: "_Clause", cites: Sequence[str]) -> str:
        if not cites:
            return "states something and cites no fact"
        if not self._hold_together(clause.atoms, cites):
            return "holds a number, date, amount, link or name that no cited fact has, or that belongs to another one"
        if fault := self._uncovered(clause, cites, lambda word: word in self._words.subjects):
            return fault
        best = self._best(clause, cites)
        if best is not None and best.negative != clause.negative:
            return "says the opposite of the fact that it cites"
        return ""

    def _promise(self, clause: "_Clause", cites: Sequence[str]) -> str:
        known = self._words
        content = [word for word in clause.words if word not in known.function or word in known.aux]
        for name in cites:
            if self._grounds[name].kind in _QUOTED:
                continue
            for ground in self._read[name]:
                same = (
                    set(content) <= set(ground.words)
                    and all(atoms.grounded(atom, ground.atoms) for atom in clause.atoms)
                    and ground.negative == clause.negative
                )
                if same and ground.hedges <= clause.hedges:
                    return ""
        return "promises, offers or tells of money or goods what no cited sentence says in the same words"

    def _uncovered(self, clause: "_Clause", cites: Sequence[str], allowed: Callable[[str], bool]) -> str:
        missing = [
            word
            for word in clause.words
            if word not in self._words.function and not allowed(word) and not self._in_cited(word, cites, loose=True)
        ]
        shown = ", ".join(dict.fromkeys(missing[:5]))
        return f"these words rest on no cited fact: {shown}" if missing else ""

    def _in_cited(self, word: str, cites: Sequence[str], *, loose: bool = False) -> bool:
        return any(
            word == other or (loose and alike(word, other))
            for name in cites
            for clause in self._read[name]
            for other in clause.words
        )

    def _hold_together(self, wanted: frozenset[str], cites: Sequence[str]) -> bool:
        """Tell whether all atoms stand in the cited facts, and those speak of one thing: all are linked."""
        if not wanted:
            return True
        facts = [frozenset().union(*(clause.atoms for clause in self._read[name])) for name in cites]
        facts = [fact for fact in facts if any(atoms.grounded(atom, fact) for atom in wanted)]
        if not facts:
            return False
        joined, rest = facts[0], facts[1:]
        while linked := [fact for fact in rest if fact & joined]:
            joined = joined.union(*linked)
            rest = [fact for fact in rest if fact not in linked]
        return all(atoms.grounded(atom, joined) for atom in wanted)

    def _best(self, clause: "_Clause", cites: Sequence[str]) -> "_Clause | None":
        """Return the clause of a cited fact that has the most words in common with one of ours."""
        content = {word for word in clause.words if word not in self._words.function}

        def overlap(other: "_Clause") -> int:
            shared = sum(any(alike(word, theirs) for theirs in other.words) for word in content)
            return shared + len(other.atoms & clause.atoms)

        candidates = [other for name in cites for other in self._read[name]]
        best = max(candidates, key=overlap, default=None)
        return best if best is not None and overlap(best) else None


@dataclass(frozen=True, slots=True)
class _Clause:
    """A part of a sentence; `hedges` are the words of the whole sentence that make it less than certain."""

    words: tuple[str, ...]
    atoms: frozenset[str]
    negative: bool
    hedges: frozenset[str]

    @classmethod
    def of(cls, text: str, known: Vocabulary, hedges: frozenset[str]) -> "_Clause":
        for turn, meaning in known.phrases.items():
            text = re.sub(rf"\b{turn}\b", meaning, text, flags=re.IGNORECASE)
        taken = atoms.read(text, known.language)
        found = tuple(words(taken.rest.replace(_MARK, " ")))
        english = vocabulary("en").negators
        negative = any(word in known.negators or word in english for word in found)
        return cls(found, taken.atoms, negative, hedges)


def _speaks_of_a_subject(said: Sequence[str], known: Vocabulary) -> bool:
    """Tell whether a clause says what an order, parcel or product is or does ("your parcel is …")."""
    return any(
        word in known.subjects and any(after in known.verbs for after in said[place + 1 : place + 3])
        for place, word in enumerate(said)
    )


def _without_quotes(text: str, source: str) -> str:
    """Return a sentence without what it repeats of a source word for word, sentence by sentence."""
    for sentence in _SENTENCE.split(source):
        bare = sentence.strip().rstrip(".!?")
        if len(bare.split()) > 2 and bare in text:  # noqa: PLR2004 - two words are no quotation
            text = text.replace(bare, " ")
    return text
