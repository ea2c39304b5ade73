"""How long a search over a full shop's passages takes, and topics of the newest tickets; what topics are worth.

Texts are drawn at random with a fixed seed. `--url` names a migrated database of the suite as the service's own role
(RAPPORT_RECOMMENDATIONS_DATABASE_URL); articles are written for a tenant that nobody has, and deleted at the end.
With `--questions FILE` (CSV: text, category) the topics of 600 of the questions are judged by their categories.
`python -m bench.knowledge [--url URL] [--questions FILE] [--json]`
"""

import argparse
import asyncio
import csv
import json
import statistics
import time
from collections import Counter
from pathlib import Path

import numpy as np

from servicekit.database import Database
from servicekit.ids import uuid7
from services.recommendations import topics
from services.recommendations.knowledge import MAX_PASSAGES, Content, Knowledge
from services.recommendations.meaning import meanings
from services.recommendations.topics import Asked

ARTICLES, QUESTIONS, TICKETS, TOPICS = 50, 30, 600, 300
_WORDS = (
    "lamp",
    "shade",
    "parcel",
    "refund",
    "return",
    "colour",
    "candle",
    "voucher",
    "size",
    "glass",
    "wood",
    "delivery",
    "invoice",
)


def _drawn(draw: np.random.Generator, words: int) -> str:
    return " ".join(draw.choice(_WORDS, words))


async def searched(url: str) -> dict[str, float]:
    """Return milliseconds of a search, and of comparing many topics, with as many passages as a shop may have."""
    database = await Database.connect(url, schema="recommendations", pool_size=2)
    knowledge, tenant, draw = Knowledge(database), uuid7(), np.random.default_rng(1)
    try:
        for number in range(ARTICLES):
            body = "\n\n".join(_drawn(draw, 120) for _ in range(MAX_PASSAGES // ARTICLES))
            await knowledge.bring_in(tenant, [Content(body, title=f"Article {number}", source=str(number))])
        times = []
        for _ in range(QUESTIONS):
            question = _drawn(draw, 8)
            started = time.perf_counter()
            await knowledge.search(tenant, question)
            times.append((time.perf_counter() - started) * 1000)
        vectors = meanings([_drawn(draw, 4) for _ in range(TOPICS)])
        started = time.perf_counter()
        await knowledge.nearest(tenant, vectors)
        nearest = (time.perf_counter() - started) * 1000
    finally:
        for article in await knowledge.listed(tenant, before=None, limit=ARTICLES):
            await knowledge.delete(tenant, article.article_id)
        await database.close()
    return {"search_p50_ms": statistics.median(times), "search_max_ms": max(times), "nearest_300_ms": nearest}


def grouped(asked: list[str], categories: list[str]) -> dict[str, float]:
    """Return seconds that topics of questions take, and how many of them are of their topic's commonest category."""
    tickets = [Asked(str(place), str(place), "", text, 2) for place, text in enumerate(asked)]
    started = time.perf_counter()
    found = topics.group(tickets, meanings([ticket.matter for ticket in tickets]), 2)
    seconds = time.perf_counter() - started
    members = [[categories[int(ticket.ticket_id)] for ticket in topic.tickets] for topic in found]
    within = sum(map(len, members))
    commonest = sum(Counter(one).most_common(1)[0][1] for one in members)
    share = commonest / within if within else 0.0
    return {"topics_seconds": seconds, "topics": len(found), "in_topics": within, "of_commonest_category": share}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON value on one line")
    parser.add_argument("--url", help="the database")
    parser.add_argument("--questions", type=Path, help="CSV with the columns text and category")
    asked = parser.parse_args()
    draw = np.random.default_rng(2)
    texts, categories = [_drawn(draw, 6) for _ in range(TICKETS)], ["drawn"] * TICKETS
    if asked.questions:
        with asked.questions.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        # The file may stand in the order of its categories.
        chosen = draw.choice(len(rows), min(TICKETS, len(rows)), replace=False)
        texts, categories = [rows[place]["text"] for place in chosen], [rows[place]["category"] for place in chosen]
    results = grouped(texts, categories)
    if asked.url:
        results |= asyncio.run(searched(asked.url))
    results = {f"knowledge.{name}": round(value, 3) for name, value in results.items()}
    if asked.json:
        print(json.dumps(results))
        return
    for name, value in results.items():
        print(f"{name:40} {value:10.3f}")


if __name__ == "__main__":
    main()
