"""How often the passage that answers is found: 70 own questions to 28 own articles, and 20 that no article answers."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from uuid import UUID

import pytest
from rapport.recommendations.v1 import knowledge_service_pb2

from services.recommendations.knowledge_store import Found
from tests.recommendations.knowing import Librarian, library
from tests.support.servers import ServiceDatabase
from tests.support.tokens import Issuer

FOLDER = Path(__file__).parents[1] / "data" / "knowledge"


def lines(name: str) -> list[dict[str, str]]:
    """Return the objects of a file."""
    return [json.loads(line) for line in (FOLDER / name).read_text("utf-8").splitlines()]


@pytest.fixture
async def shop(recommendations_database: ServiceDatabase, issuer: Issuer) -> AsyncIterator[Librarian]:
    """A shop with the articles."""
    async with library(recommendations_database.app_url, issuer) as librarian:
        articles = [knowledge_service_pb2.ArticleContent(**article) for article in lines("articles.jsonl")]
        done = await librarian.call("ImportArticles", articles=articles)
        assert done.created_count == len(articles)
        yield librarian


def places(found: list[Found], sources: Mapping[UUID, str], measure: str) -> list[str]:
    """Return the sources of what was found, by a measure, the best first."""
    ranked = sorted(found, key=lambda one: -getattr(one, measure))
    return list(dict.fromkeys(sources[one.article_id] for one in ranked if getattr(one, measure) > 0))


async def test_the_article_that_answers_is_found(shop: Librarian) -> None:
    """By words and meaning together no less often than by either alone; docs/knowledge.md tells these counts."""
    listed = (await shop.call("ListArticles", page_size=200)).articles
    sources = {UUID(article.id): article.source for article in listed}
    first = dict.fromkeys(("score", "similarity", "worded"), 0)
    third = dict(first)
    for one in lines("questions.jsonl"):
        if not one["source"]:
            continue
        found = await shop.knowledge.search(shop.tenant_id, one["question"], "en", limit=100)
        for measure in first:
            ranked = places(found, sources, measure)
            first[measure] += ranked[:1] == [one["source"]]
            third[measure] += one["source"] in ranked[:3]
    assert first == {"score": 50, "similarity": 49, "worded": 41}
    assert third == {"score": 61, "similarity": 60, "worded": 52}


async def test_a_draft_is_given_the_right_passage_or_mostly_none(shop: Librarian) -> None:
    """Of what no article answers, hardly anything is cited; docs/knowledge.md tells these counts."""
    listed = (await shop.call("ListArticles", page_size=200)).articles
    sources = {UUID(article.id): article.source for article in listed}
    outcomes = {"right": 0, "none": 0, "wrong": 0, "cited without an answer": 0}
    for one in lines("questions.jsonl"):
        passages = await shop.knowledge.passages(shop.tenant_id, one["question"], "en", limit=3)
        named = {sources[UUID(passage.article_id)] for passage in passages}
        if not one["source"]:
            outcomes["cited without an answer"] += bool(named)
        else:
            outcomes["right" if one["source"] in named else "wrong" if named else "none"] += 1
    assert outcomes == {"right": 47, "none": 15, "wrong": 8, "cited without an answer": 1}
