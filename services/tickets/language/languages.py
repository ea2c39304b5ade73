"""Which language a text is in: by its script, or by the small words that each language has most of."""

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache

UNTOLD = "und"
"""The answer where it cannot be told (ISO 639-2)."""

_SCRIPTS: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = (
    ("ja", ((0x3040, 0x30FF),)),
    ("ko", ((0xAC00, 0xD7AF), (0x1100, 0x11FF))),
    ("zh", ((0x4E00, 0x9FFF), (0x3400, 0x4DBF))),
    ("el", ((0x0370, 0x03FF),)),
    ("he", ((0x0590, 0x05FF),)),
    ("ar", ((0x0600, 0x06FF),)),
    ("hi", ((0x0900, 0x097F),)),
    ("th", ((0x0E00, 0x0E7F),)),
    ("ru", ((0x0400, 0x04FF),)),
)
"""Scripts that tell a language by themselves; of languages that share one, the most written."""
_UKRAINIAN = frozenset("\u0456\u0457\u0454\u0491")
_OTHER_LETTERS = re.compile("[^\x00-\u036f]")
_OF_SCRIPT = {
    language: re.compile("[" + "".join(f"{chr(low)}-{chr(high)}" for low, high in ranges) + "]")
    for language, ranges in _SCRIPTS
}
_SHARE = 0.3
_LETTERS_READ = 2000

_SMALL_WORDS = {
    "en": (
        "the a an and or but is are was were be been am i i'm i've i'd you your yours my mine me we our us it it's "
        "its he she they them this that these those to of in on at for from with by not no don't didn't doesn't "
        "haven't hasn't isn't can can't could would will what where when which who why how have has had do does "
        "did please thanks thank hello hi hey order ordered parcel package refund cancel delivery delivered "
        "shipping item received yes sorry help there if as so just any some after before still again need want get "
        "got"
    ),
    "de": (
        "der die das den dem des ein eine einen einem einer und oder aber ist sind war waren bin ich du sie er es "
        "wir ihr mein meine meinen meiner mich mir uns nicht kein keine zu zum zur von vom mit für auf aus bei "
        "nach wann wo was wer wie warum hab habe haben hat hatte kann können bitte danke guten tag hallo "
        "bestellung paket noch schon wurde werden ihre ihnen sehr geehrte dass wenn im am grüße grüsse lieferung "
        "rückgabe geld"
    ),
    "fr": (
        "le la les un une des du de et ou mais est sont était je j'ai tu il elle nous vous mon ma mes votre vos ne "
        "pas plus que qui quoi où quand comment pourquoi dans sur avec pour par sans ce cette c'est à au aux "
        "bonjour merci commande colis livraison n'est n'ai reçu avez s'il plaît cordialement retour remboursement"
    ),
    "es": (
        "el la los las un una unos de del y o pero es son era está estoy yo tú usted nosotros mi mis su sus no que "
        "quién dónde cuándo cómo por para con sin en al lo le me se hola gracias pedido paquete quiero puedo tengo "
        "he ha favor buenos días envío devolver reembolso todavía mucho"
    ),
    "it": (
        "il lo la gli le un uno una di del della dei e o ma è sono era io tu lei noi mio mia miei suo non che chi "
        "dove quando come perché per con senza in al alla nel ho ha abbiamo ciao grazie ordine pacco vorrei posso "
        "buongiorno salve spedizione ancora mi si ricevuto rimborso questo cosa"
    ),
    "nl": (
        "de het een en of maar is zijn was waren ik jij u hij wij mijn uw niet geen te van met voor op uit bij "
        "naar wanneer waar wat wie hoe waarom heb heeft hebben kan kunnen graag dank bedankt hallo bestelling "
        "pakket nog al deze dit dat aan er om goedendag levering retour geld"
    ),
    "pt": (
        "o os um uma de do da dos das e ou mas é são era está estou eu você nós meu minha seu não que quem onde "
        "quando como por para com sem em no na ao olá obrigado obrigada pedido encomenda quero posso tenho bom dia "
        "entrega ainda gostaria favor reembolso minhas"
    ),
    "sv": (
        "och eller men är var jag du han hon vi min mitt mina din inte ingen att av med för på från hos när vad "
        "vem hur varför har hade kan vill tack hej beställning paket det den ett en som till order leverans fråga"
    ),
    "da": (
        "og eller men er var jeg du han hun vi min mit mine din ikke ingen at af med for på fra hos hvornår hvor "
        "hvad hvem hvordan har havde kan vil tak hej bestilling pakke det den et en som til endnu"
    ),
    "pl": (
        "i lub ale jest są był ja ty on ona my mój moja moje nie że kto co gdzie kiedy jak dlaczego na w z do od "
        "po przez dla mam ma chcę proszę dziękuję dzień dobry zamówienie paczka jeszcze to się czy zwrot"
    ),
    "cs": (
        "a nebo ale je jsou byl já ty on ona my můj moje ne že kdo co kde kdy jak proč na v z do od po pro mám má "
        "chci prosím děkuji dobrý den objednávka balík ještě to se jsem mi"
    ),
    "tr": (
        "ve veya ama bir bu şu o ben sen biz siz benim değil yok var ne kim nerede zaman neden için ile mi lütfen "
        "teşekkürler merhaba sipariş siparişim kargo iade istiyorum henüz gelmedi daha"
    ),
}


@cache
def _languages_of_words() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for language, words in _SMALL_WORDS.items():
        for word in dict.fromkeys(words.split()):
            found.setdefault(word, []).append(language)
    return {word: tuple(languages) for word, languages in found.items()}


def language_of(clauses: Sequence[str]) -> str:
    """Return the language of clauses (see `reading.clauses`), or `und`.

    A word that languages share counts in part for each. Short texts without a small word cannot be told.
    """
    if script := _script("".join(clauses)[:_LETTERS_READ]):
        return script
    known = _languages_of_words()
    counts: defaultdict[str, float] = defaultdict(float)
    for clause in clauses:
        for word in clause.split():
            for language in (languages := known.get(word, ())):
                counts[language] += 1 / len(languages)
    ranked = sorted(counts.items(), key=lambda found: -found[1])
    (best, first), (_, second) = [*ranked, (UNTOLD, 0.0), (UNTOLD, 0.0)][:2]
    return best if first > second else UNTOLD


def _script(text: str) -> str:
    """Return the language that the script of most letters tells, "" for Latin letters and for none."""
    if text.isascii():
        return ""
    others = "".join(filter(str.isalpha, _OTHER_LETTERS.findall(text)))
    least = _SHARE * sum(map(str.isalpha, text)) if others else 0.0
    if len(others) <= least:
        return ""
    for language, letters in _OF_SCRIPT.items():
        if len(letters.findall(others)) > least:
            return "uk" if language == "ru" and _UKRAINIAN & set(text) else language
    return ""
