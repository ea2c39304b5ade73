"""The words of a language that the checks know: those of courtesy, and those that state or promise something."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

LANGUAGES = ("en", "de", "fr")
"""The languages whose drafts can be checked; a model writes no other."""

WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*|['\u2019][a-z]+")
"""A word; what English shortens ("I'll") is one word."""

_ELIDED = frozenset(["c", "d", "j", "l", "m", "n", "s", "t", "qu", "lorsqu", "puisqu", "jusqu", "aujourd"])
_THAT_IS = frozenset(["it", "that", "there", "here", "what", "who", "how", "everything", "all", "this"])
_SHORTENED = {"'ll": "will", "'ve": "have", "'re": "are", "'m": "am", "'d": "would", "'s": ""}
_SLOT = re.compile(r"\{\w*\}")
_LEAST_STEM = 5
_MOST_ENDING = 4


class Words:
    """A set of words; one that ends in a star stands for all that begin with it."""

    def __init__(self, text: str) -> None:
        listed = text.lower().split()
        self._whole = frozenset(word for word in listed if not word.endswith("*"))
        self._starts = tuple(word[:-1] for word in listed if word.endswith("*"))

    def __contains__(self, word: str) -> bool:
        return word in self._whole or word.startswith(self._starts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What is known of a language; the lists are explained in `words/en.toml`."""

    language: str
    function: Words
    aux: Words
    known: frozenset[str]
    states: Words
    promises: Words
    times: Words
    secrets: Words
    meta: Words
    negators: Words
    hedges: Words
    subjects: Words
    verbs: Words
    courtesy: Words
    passed: Words
    modals: Words
    owning: Words
    degrees: Words
    verb_last: bool
    sorry: Words
    warm: Words
    numbers: Mapping[str, str]
    phrases: Mapping[str, str]
    months: Mapping[str, int]


@cache
def vocabulary(language: str) -> Vocabulary:
    """Return what is known of a language.

    Raises:
        KeyError: nothing is.
    """
    if language not in LANGUAGES:
        raise KeyError(language)
    package = files("services.recommendations")
    lists = tomllib.loads((package / "writers" / "words" / f"{language}.toml").read_text("utf-8"))
    catalogue = tomllib.loads((package / "phrases" / f"{language}.toml").read_text("utf-8"))
    names = ("states", "promises", "times", "secrets", "meta", "negators", "hedges", "subjects", "verbs", "aux")
    binding = ("courtesy", "passed", "modals", "owning", "degrees", "function", "sorry", "warm")
    sets: Mapping[str, Any] = {name: Words(lists[name]) for name in (*names, *binding)}
    sentences = " ".join(_texts(catalogue))
    return Vocabulary(
        language=language,
        known=frozenset(words(_SLOT.sub(" ", sentences))) | frozenset(Words(lists["extra"])),
        numbers=lists["numbers"],
        phrases=lists["phrases"],
        verb_last=lists["verb_last"],
        months={name.lower(): place for place, name in enumerate(catalogue["months"], start=1)},
        **sets,
    )


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, shortened ones in full ("i'll" is "i will", "l'on" is "l on")."""
    found: list[str] = []
    for met in WORD.finditer(text):
        word = met[0].lower().replace("\u2019", "'")
        for ending, full in _SHORTENED.items():
            if word.endswith(ending):
                head = word.removesuffix(ending)
                found += [part for part in (head, "is" if head in _THAT_IS else full) if part]
                break
        else:
            found += word.split("'") if word.partition("'")[0] in _ELIDED else [word]
    return found


def binds(said: Sequence[str], known: Vocabulary) -> bool:
    """Tell whether a clause may bind the shop: what follows an auxiliary in it is no courtesy ("we will bring …").

    Who owns something is bound by it too, even where nothing follows ("you can have it").
    """
    for place, word in enumerate(said):
        if word not in known.modals:
            continue
        after = said[place + 1 :]
        if known.verb_last:
            after = tuple(reversed(said[:place] if all(one in known.passed for one in after) else after))
        follows = next((one for one in after if one not in known.passed and one not in known.modals), "")
        if follows and follows not in known.courtesy:
            return True
        if not follows and word in known.owning and said[place + 1 :]:
            return True
    return False


def alike(one: str, other: str) -> bool:
    """Tell whether two words are forms of one: they differ in their ending only."""
    if one == other:
        return True
    longest = max(len(one), len(other))
    least = max(_LEAST_STEM, longest - _MOST_ENDING)
    return len(one) >= least and len(other) >= least and one[:least] == other[:least]


def _texts(part: Any) -> Iterator[str]:
    """Yield every sentence of a catalogue."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        for each in part.values():
            yield from _texts(each)
