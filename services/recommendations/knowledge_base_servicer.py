"""The frontend's knowledge-base page: `rapport.frontend.v1.KnowledgeBase` in, its JSON shapes out.

An answer's fields stand at its top and once more below `data`, since the page reads some of them here and some there.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from google.api.httpbody_pb2 import HttpBody
from rapport.frontend.v1 import knowledge_base_pb2, knowledge_base_pb2_grpc

from servicekit.identity import caller_tenant
from servicekit.pages import page_size
from services.recommendations.advice_json import moment
from services.recommendations.article_ideas import LABELS, ArticleIdeas, Idea
from services.recommendations.frontend import answer
from services.recommendations.knowledge import ANSWERED_SIMILARITY, Edit, Knowledge
from services.recommendations.knowledge_store import Article
from services.recommendations.service import Context
from services.recommendations.topics import Topic

SOURCE = "rules"
_SHOWN, _MOST_SHOWN = 10, 50
_PRIORITIES = {"critical": "Critical", "high": "High", "medium": "Medium"}
_TYPES = {"policy": "Policy", "guide": "Guide", "answer": "FAQ"}


class KnowledgeBaseServicer(knowledge_base_pb2_grpc.KnowledgeBaseServicer):
    """`rapport.frontend.v1.KnowledgeBase`."""

    def __init__(self, knowledge: Knowledge, ideas: ArticleIdeas) -> None:
        self._knowledge = knowledge
        self._ideas = ideas

    async def SuggestArticles(self, request: knowledge_base_pb2.SuggestArticlesRequest, _context: Context) -> HttpBody:
        """Return articles that are worth writing."""
        ideas, looked_at = await self._ideas.missing(caller_tenant())
        shown = [_suggestion(idea) for idea in ideas[: _limit(request.limit)]]
        return _both({"suggestions": shown, "tickets_analyzed": looked_at, "source": SOURCE})

    async def GenerateArticle(self, request: knowledge_base_pb2.GenerateArticleRequest, _context: Context) -> HttpBody:
        """Return an outline of an article."""
        outline = await self._ideas.outline(caller_tenant(), request.topic)
        made_of = {"tickets": outline.tickets, "answers": outline.answers, "articles": list(outline.articles)}
        return _both(
            {
                "article": outline.text,
                "title": outline.title,
                "made_of": made_of,
                "source": SOURCE,
                "labels": list(LABELS),
            }
        )

    async def ListDeflectableIssues(
        self, request: knowledge_base_pb2.ListDeflectableIssuesRequest, _context: Context
    ) -> HttpBody:
        """Return the topics that many tickets share."""
        ideas, looked_at = await self._ideas.topics(caller_tenant(), request.min_tickets)
        shown = [_issue(idea) for idea in ideas[: _limit(request.limit)]]
        return _both({"issues": shown, "tickets_analyzed": looked_at})

    async def ListBaseArticles(
        self, request: knowledge_base_pb2.ListBaseArticlesRequest, _context: Context
    ) -> HttpBody:
        """Return articles, newest first; fewer than asked for where their texts are long."""
        found = await self._knowledge.shown(
            caller_tenant(), status=request.status, limit=page_size(request.limit), offset=request.offset
        )
        total = await self._knowledge.count(caller_tenant(), request.status)
        return _both({"articles": [_article(one) for one in found], "total": total})

    async def GetBaseArticle(self, request: knowledge_base_pb2.GetBaseArticleRequest, _context: Context) -> HttpBody:
        """Return an article."""
        return _both(_article(await self._knowledge.get(caller_tenant(), UUID(request.article))))

    async def UpdateBaseArticle(
        self, request: knowledge_base_pb2.UpdateBaseArticleRequest, _context: Context
    ) -> HttpBody:
        """Change an article."""
        edit = Edit(
            title=request.title if request.HasField("title") else None,
            body=request.content if request.HasField("content") else None,
            form="markdown",
            status=request.status if request.HasField("status") else None,
        )
        return _both(_article(await self._knowledge.change(caller_tenant(), UUID(request.article), edit)))

    async def DeleteBaseArticle(
        self, request: knowledge_base_pb2.DeleteBaseArticleRequest, _context: Context
    ) -> HttpBody:
        """Delete an article."""
        await self._knowledge.delete(caller_tenant(), UUID(request.article))
        return _both({"id": request.article, "deleted": True})


def _both(values: Mapping[str, Any]) -> HttpBody:
    return answer({**values, "data": values})


def _limit(asked: int) -> int:
    return min(asked or _SHOWN, _MOST_SHOWN)


def _suggestion(idea: Idea) -> dict[str, Any]:
    topic = idea.topic
    return {
        "article_title": topic.name,
        "priority": _PRIORITIES[idea.priority],
        "article_type": _TYPES[idea.article_type],
        "impact_estimate": {
            "tickets_to_deflect": topic.deflectable_count,
            "customers_affected": topic.customer_count,
            "avg_resolution_hours_saved": topic.resolution_hours,
        },
        "deflection_potential": _potential(topic),
        "source_data": {
            "sample_subjects": topic.sample_subjects,
            "sample_tickets": [ticket.number for ticket in topic.tickets[:5]],
            "ticket_count": len(topic.tickets),
        },
    }


def _issue(idea: Idea) -> dict[str, Any]:
    topic = idea.topic
    return {
        "issue": topic.name,
        "ticket_count": len(topic.tickets),
        "customers_affected": topic.customer_count,
        "deflection_potential": _potential(topic),
        "avg_resolution_hours": topic.resolution_hours,
        "has_article": idea.nearest >= ANSWERED_SIMILARITY,
        "sample_subjects": topic.sample_subjects,
    }


def _potential(topic: Topic) -> float:
    return round(topic.deflectable_count / len(topic.tickets), 4)


def _article(article: Article) -> dict[str, Any]:
    return {
        "id": str(article.article_id),
        "title": article.title,
        "content": article.body,
        "kind": article.kind,
        "status": article.status,
        "language": article.language,
        "url": article.url,
        "created_at": moment(article.create_time),
        "updated_at": moment(article.update_time),
    }
