"""Whether a model's sentence may stand in a draft. Code decides, by words and numbers; no model is asked.

A sentence is read clause by clause. What it states - a number, a date, money, a link, where a parcel is, when something
comes - must stand in the facts that it cites, and they must speak of the same thing. What it promises must stand word
for word in one of them, and that is one of our own sentences or of the order's facts; articles and policies may only be
quoted. An auxiliary that is not followed by courtesy promises too, however plain its words ("we will bring another").
All other words must be those of courtesy, so that nothing is slipped in that no rule has thought of. The price is that
some good sentences are refused; the rules' own draft stands in their place.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from services.recommendations.writers import atoms
from services.recommendations.writers.pseudonyms import PLACEHOLDER
from services.recommendations.writers.vocabulary import Vocabulary, Words, alike, binds, vocabulary, words

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
_EXACT = ("money:", "date:", "share:", "number:", "time:")
_FRAGMENT = 4
"""Words of a clause that says nothing by itself (“and longer”)."""

_PERSONS = {"i": "we", "we": "we", "me": "us", "us": "us", "you": "you", "ich": "wir", "wir": "wir"}
"""Who promises whom: a shop may say "we" where the rules say "I"."""

_FOREIGN = "holds a number, date, amount, link or name that no cited fact has, or that belongs to another one"
_OTHER_WORDS = "says something in other words than the one fact that has these numbers, dates, amounts or names"
_OPPOSITE = "says the opposite of the fact that it cites"
_PRECISE = (_FOREIGN, _OTHER_WORDS, _OPPOSITE)


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
        clauses = self._clauses(text)
        if text != said.text and any(self._any("degrees", clause) for clause in clauses):
            return "adds to what it quotes"
        for clause in clauses:
            if fault := self._clause(clause, said.cites):
                return fault
        return ""

    def _in_context(self, clauses: Sequence["_Clause"]) -> Iterator["_Clause"]:
        """Yield clauses with what their sentence says of them: "24.50 EUR, was refunded" speaks of an amount.

        A clause that names what it speaks of stands for itself.
        """
        whole: frozenset[str] = frozenset().union(*(clause.atoms for clause in clauses))
        for clause in clauses:
            open_end = self._any("degrees", clause) and len(clause.words) <= _FRAGMENT
            tells = self._any("promises", clause) or self._any("states", clause) or open_end
            if tells and not clause.atoms and not _speaks_of_a_subject(clause.words, self._words):
                yield replace(clause, atoms=whole)
            else:
                yield clause

    def _clauses(self, text: str) -> list["_Clause"]:
        """Take a text apart, sentence by sentence and those clause by clause."""
        found: list[_Clause] = []
        for sentence in _SENTENCE.split(text):
            said = words(sentence)
            hedges = frozenset(word for word in said if word in self._words.hedges)
            parts = [part for part in _CLAUSE.split(sentence) if part and part.strip()]
            found += self._in_context([_Clause.of(part, self._words, hedges) for part in parts])
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
        if binds(clause.words, known):
            return self._promise(clause, cites)
        return self._uncovered(
            clause, cites, lambda word: word in known.known or word in known.modals or word in known.courtesy
        )

    def _statement(self, clause: "_Clause", cites: Sequence[str]) -> str:
        if not cites:
            return "states something and cites no fact"
        if clause.atoms:
            faults = [self._beside(clause, name) for name in cites]
            return "" if "" in faults else max(faults, key=_PRECISE.index)
        if fault := self._uncovered(clause, cites, lambda word: word in self._words.subjects):
            return fault
        best = self._best(clause, cites)
        return _OPPOSITE if best is not None and best.negative != clause.negative else ""

    def _beside(self, clause: "_Clause", name: str) -> str:
        """Return what is wrong with a clause that holds atoms, if it rests on one fact: that alone must say it all."""
        read = self._read[name]
        held = frozenset().union(*(ground.atoms for ground in read))
        if not all(atoms.grounded(atom, held) for atom in clause.atoms):
            return _FOREIGN
        exact = {atom for atom in clause.atoms if atom.startswith(_EXACT)}
        known = self._words
        there = {other for ground in read for other in ground.words}
        for word in clause.words:
            free = word in known.function or (not exact and word in known.subjects)
            if (not free or word in known.degrees) and not any(word == one or alike(word, one) for one in there):
                return _OTHER_WORDS
        best = self._best(clause, [name])
        if best is not None and best.negative != clause.negative:
            return _OPPOSITE
        return "" if not exact or any(self._told_with(exact, clause, ground) for ground in read) else _OTHER_WORDS

    def _told_with(self, exact: Iterable[str], clause: "_Clause", ground: "_Clause") -> bool:
        """Tell whether a part of a fact has numbers, dates or money, and at least a word of what is said of them."""
        own = {word for word in clause.words if word not in self._words.function and word not in self._words.subjects}
        stated = {word for word in own if word in self._words.states} or own
        return all(atoms.grounded(atom, ground.atoms) for atom in exact) and any(
            alike(word, other) for word in stated for other in ground.words
        )

    def _promise(self, clause: "_Clause", cites: Sequence[str]) -> str:
        known = self._words
        content = {
            _PERSONS.get(word, word)
            for word in clause.words
            if word not in known.function or word in known.aux or word in _PERSONS
        }
        for name in cites:
            if self._grounds[name].kind in _QUOTED:
                continue
            for ground in self._read[name]:
                theirs = {_PERSONS.get(word, word) for word in ground.words}
                limits = {atom for atom in ground.atoms if atom.startswith(_EXACT)}
                same = (
                    content <= theirs
                    and all(atoms.grounded(atom, ground.atoms) for atom in clause.atoms)
                    and all(any(atoms.grounded(atom, frozenset({limit})) for atom in clause.atoms) for limit in limits)
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
    told = source.partition(": ")[2]
    for sentence in (*_SENTENCE.split(source), *_SENTENCE.split(told)):
        bare = sentence.strip().rstrip(".!?")
        if len(bare.split()) > 2 and bare in text:  # noqa: PLR2004 - two words are no quotation
            text = text.replace(bare, " ")
    return text
