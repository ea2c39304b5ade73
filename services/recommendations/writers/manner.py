"""Whether a draft as a whole is in the language, the tone and the length that were wished for."""

from collections.abc import Mapping, Sequence

from services.recommendations import languages
from services.recommendations.phrases import Length, Tone
from services.recommendations.writers.vocabulary import vocabulary, words

SENTENCES: Mapping[Length, tuple[int, int]] = {"short": (1, 4), "medium": (2, 9), "long": (4, 16)}
"""From how many to how many sentences a draft has."""

_MOST_WORDS: Mapping[Length, int] = {"short": 90, "medium": 190, "long": 340}
_MOST_CHEERS = 3
_TELLING_WORDS = 12
"""So many words in another language than English do not go without a common one."""


def fault(sentences: Sequence[str], language: str, tone: Tone, length: Length) -> str:
    """Return what is wrong with a draft as a whole, in words that a model can act on; empty when nothing is."""
    text = " ".join(sentences)
    said, known = words(text), vocabulary(language)
    least, most = SENTENCES[length]
    if not least <= len(sentences) <= most or len(said) > _MOST_WORDS[length]:
        return f"a {length} draft has {least} to {most} sentences and at most {_MOST_WORDS[length]} words"
    if (guessed := languages.guess(text)) != language and (guessed != languages.DEFAULT or len(said) > _TELLING_WORDS):
        return f"write in the language {language}"
    cheers = text.count("!")
    if cheers > (0 if tone == "professional" else _MOST_CHEERS):
        return f"too many exclamation marks for the tone {tone}"
    if tone == "apologetic" and not any(word in known.sorry for word in said):
        return "an apologetic draft says sorry"
    if tone == "empathetic" and not any(word in known.warm for word in said):
        return "an empathetic draft says that it understands"
    return ""
