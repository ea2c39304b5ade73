"""What tests of models need: a case with its facts, and models that are configured."""

from datetime import date
from pathlib import Path

from services.recommendations import drafts
from services.recommendations.case import Case, Conversation, Message, Order, Parcel, Passage, assemble
from services.recommendations.drafts import Wish
from services.recommendations.grounds import facts_of
from services.recommendations.writers.exchange import Task
from services.recommendations.writers.models import Models, load
from services.recommendations.writers.pseudonyms import PLACEHOLDER
from tests.support.model_server import KEY, Asked

ORDER = Order(
    "536365",
    date(2010, 12, 1),
    ("White hanging heart", "Lantern"),
    (Parcel("00340434161094042557", "https://carrier.example.com/00340434161094042557", "DHL", "in_transit"),),
    currency="EUR",
    total_minor=2450,
)
RETURNS = Passage(
    "returns",
    "Returns",
    "https://shop.example.com/returns",
    "Unused goods can be returned within 30 days. Return parcels are free within Germany.",
    0.9,
    "policy",
)


def conversation(*texts: str, subject: str = "My order") -> Conversation:
    """Return a conversation in which the customer said these things."""
    said = tuple(Message(from_agent=False, content=text) for text in texts)
    return Conversation("01890000-0000-7000-8000-000000000001", "c-1", subject, "email", len(texts), said)


def task(
    *texts: str,
    wish: Wish | None = None,
    order: Order | None = ORDER,
    passages: tuple[Passage, ...] = (),
    name: str = "Maria Silva",
) -> Task:
    """Return a task: what a customer wrote, on this order and these passages."""
    talk = conversation(*(texts or ("Where is my order 536365?",)))
    named = order if order is not None and order.order_id in " ".join(texts) else None
    case: Case = assemble(talk, None, named, order, customer_name=name, passages=passages)
    fallback = drafts.write(case, wish or Wish())
    return Task(case, facts_of(case), talk, fallback)


def models(folder: Path, url: str, **settings: object) -> Models:
    """Return one model of each protocol at a server's address."""
    (folder / "key").write_text(f"{KEY}\n")
    extra = "".join(f", {name}: {value}" for name, value in settings.items())
    prices = 'key_file: key, input_price: "3.00", output_price: "15.00"' + extra
    path = folder / "models.yaml"
    path.write_text(
        "currency: USD\nmodels:\n"
        f"  - {{name: large, provider: anthropic, model: vendors-large, base_url: '{url}', {prices}}}\n"
        f"  - {{name: local, provider: openai, model: local-small, base_url: '{url}/v1', {prices}}}\n"
    )
    return load(path)


def ids(asked: Asked) -> dict[str, str]:
    """Return the ids of facts by the beginning of their texts, as a question names them."""
    found = {}
    for line in asked.user.splitlines():
        name, _, text = line.partition("): ")
        if text and name[:1] in "FD":
            found[PLACEHOLDER.sub("*", text)] = name.partition(" ")[0]
    return found
