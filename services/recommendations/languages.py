"""Which language a text is written in, told by its commonest words. No more than a guess."""

import re

DEFAULT = "en"
"""What a text counts as when its words decide nothing."""

_LETTERS = re.compile(r"[^\W\d_]+")
_MOST_WORDS = 400
_LEAST_HITS = 2

_COMMONEST: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": """the and is are was my i it to of for not have has had you your this that with when where what please
            can could would do does did be been but on in at from will order thanks hello me we us as if about there
            out which who why need tell any so just""",
        "de": """der die das und ist nicht ich mein meine meinen meiner habe haben hat war sie wir mit für auf ein eine
            einen zu von wo wann bitte noch aber wurde kann können wie es den dem sind bestellung danke hallo""",
        "fr": """le la les et est pas je mon ma mes une des du de pour que qui dans sur avec vous nous il elle ai avez
            était où quand bonjour merci ce cette ne commande au aux pouvez suis été c j n l d""",
        "es": """el la los las y es no mi mis un una de del para que en con por está están cuándo dónde hola gracias
            he ha pedido pero yo usted ustedes me se lo su fue tengo quiero puede""",
        "it": """il lo la gli le e è non mio mia un una di del della per che in con da sono ho ha dove quando ciao
            grazie ordine ma mi si vorrei può questo questa ancora buongiorno""",
        "nl": """de het een en is niet mijn ik van voor met op in te dat die heb heeft was wij jullie waar wanneer
            bestelling maar kan nog er aan bedankt hallo graag kunt naar geen""",
        "pt": """o os as e é não meu minha um uma de do da para que em com por está onde quando olá obrigado obrigada
            pedido mas eu você me se foi tenho quero pode ainda""",
    }.items()
}


def guess(text: str) -> str:
    """Return the ISO 639-1 code of a text's language; `DEFAULT` when another one is not clearly ahead."""
    words = [word.lower() for word in _LETTERS.findall(text)[:_MOST_WORDS]]
    hits = {language: sum(word in common for word in words) for language, common in _COMMONEST.items()}
    best = max(hits, key=lambda language: hits[language])
    if hits[best] < _LEAST_HITS or hits[best] <= hits[DEFAULT]:
        return DEFAULT
    return best
