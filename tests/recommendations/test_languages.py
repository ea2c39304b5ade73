"""The guess of a message's language, on messages that were written for these tests by us."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommendations import languages

MESSAGES = {
    "en": [
        "Where is my order 536365?",
        "The lamp I got is broken",
        "can i return these, they don't fit me",
        "tell me if this comes in the colour of la mer",
        "REFUND NOW",
        "I ordered a Weihnachtsstern for my mother and it has not come yet",
        "As far as I know it was sent on Monday",
        "Hello, any news about my parcel? Thanks",
        "",
        "536365",
    ],
    "de": [
        "Wo bleibt meine Bestellung 536365?",
        "Die Lampe ist leider kaputt angekommen.",
        "Ich möchte die Ware zurückschicken, wie geht das?",
        "Guten Tag, bitte ändern Sie meine Lieferadresse.",
        "Das Paket ist noch nicht da, und ich brauche es für Samstag.",
        "Können Sie mir bitte die Rechnung schicken?",
        "Hallo, der Tracking Link zeigt nichts an, wann kommt die Order?",
    ],
    "fr": [
        "Où est ma commande ?",
        "Bonjour, je n'ai pas reçu mon colis.",
        "L'article est cassé, je voudrais être remboursé.",
        "Pouvez-vous changer l'adresse de livraison de ma commande ?",
        "La taille ne convient pas, comment faire un retour ?",
        "Merci pour votre aide, tout est arrivé.",
    ],
    "es": ["¿Dónde está mi pedido? No ha llegado.", "Quiero devolver la lámpara, no funciona."],
    "it": ["Dove è il mio ordine? Non è ancora arrivato.", "Vorrei la restituzione, la lampada è rotta e non va."],
    "nl": ["Waar is mijn bestelling? Ik heb het pakket nog niet.", "De lamp is kapot en ik wil een nieuwe."],
    "pt": ["Onde está o meu pedido? Ainda não chegou.", "A lâmpada não funciona e quero o dinheiro de volta."],
}


@pytest.mark.parametrize(
    ("language", "text"), [(language, text) for language, texts in MESSAGES.items() for text in texts]
)
def test_messages_are_taken_for_the_language_that_they_are_in(language: str, text: str) -> None:
    """Also with names, numbers and single words of other languages in them; what decides nothing is English."""
    assert languages.guess(text) == language


@given(st.text(max_size=500))
def test_every_text_has_a_language(text: str) -> None:
    """Whatever somebody writes."""
    assert languages.guess(text) in MESSAGES
