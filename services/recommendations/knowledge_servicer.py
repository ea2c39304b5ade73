"""`rapport.recommendations.v1.KnowledgeService`: messages in, one call, messages out."""

from collections.abc import Sequence
from uuid import UUID

import grpc
from rapport.frontend.v1 import knowledge_base_pb2_grpc
from rapport.recommendations.v1 import article_pb2, knowledge_service_pb2, knowledge_service_pb2_grpc

from servicekit.database import Database
from servicekit.identity import caller_tenant
from servicekit.pages import PageTokens, page_size
from servicekit.server import Registration
from servicekit.timestamps import timestamp
from services.recommendations.article_ideas import ArticleIdeas, Idea
from services.recommendations.article_text import Format
from services.recommendations.customers import Clock, utc_now
from services.recommendations.knowledge import Content, Edit, Knowledge, etag_of
from services.recommendations.knowledge_base_servicer import KnowledgeBaseServicer
from services.recommendations.knowledge_store import Article, Found, Kind
from services.recommendations.service import Context
from services.recommendations.ticket_reader import TicketReader

_FORMATS: dict[int, Format] = {
    knowledge_service_pb2.ArticleContent.FORMAT_MARKDOWN: "markdown",
    knowledge_service_pb2.ArticleContent.FORMAT_HTML: "html",
}
_FOUND, _MOST_FOUND = 10, 50


class KnowledgeServicer(knowledge_service_pb2_grpc.KnowledgeServiceServicer):
    """`rapport.recommendations.v1.KnowledgeService`."""

    def __init__(self, knowledge: Knowledge, ideas: ArticleIdeas, tokens: PageTokens) -> None:
        self._knowledge = knowledge
        self._ideas = ideas
        self._tokens = tokens

    async def CreateArticle(
        self, request: knowledge_service_pb2.CreateArticleRequest, _context: Context
    ) -> article_pb2.Article:
        """Create an article."""
        return _article(await self._knowledge.create(caller_tenant(), _content(request.article)))

    async def GetArticle(
        self, request: knowledge_service_pb2.GetArticleRequest, _context: Context
    ) -> article_pb2.Article:
        """Return an article."""
        return _article(await self._knowledge.get(caller_tenant(), UUID(request.article)))

    async def ListArticles(
        self, request: knowledge_service_pb2.ListArticlesRequest, _context: Context
    ) -> knowledge_service_pb2.ListArticlesResponse:
        """List articles, newest first."""
        scope, size = (caller_tenant(), "articles", request.kind, request.status), page_size(request.page_size)
        before = UUID(self._tokens.open(request.page_token, scope=scope)["before"]) if request.page_token else None
        found = await self._knowledge.listed(
            caller_tenant(), kind=request.kind, status=request.status, before=before, limit=size + 1
        )
        more = len(found) > size
        token = self._tokens.seal({"before": str(found[size - 1].article_id)}, scope=scope) if more else ""
        return knowledge_service_pb2.ListArticlesResponse(
            articles=[_article(article, body="") for article in found[:size]], next_page_token=token
        )

    async def UpdateArticle(
        self, request: knowledge_service_pb2.UpdateArticleRequest, _context: Context
    ) -> article_pb2.Article:
        """Change an article."""
        edit = Edit(
            kind=_kind(request.kind) if request.HasField("kind") else None,
            title=request.title if request.HasField("title") else None,
            body=request.body if request.HasField("body") else None,
            form=_FORMATS.get(request.format, "text"),
            language=request.language if request.HasField("language") else None,
            url=request.url if request.HasField("url") else None,
            status=request.status if request.HasField("status") else None,
        )
        return _article(await self._knowledge.change(caller_tenant(), UUID(request.article), edit, request.etag))

    async def DeleteArticle(
        self, request: knowledge_service_pb2.DeleteArticleRequest, _context: Context
    ) -> knowledge_service_pb2.DeleteArticleResponse:
        """Delete an article."""
        await self._knowledge.delete(caller_tenant(), UUID(request.article), request.etag)
        return knowledge_service_pb2.DeleteArticleResponse()

    async def ImportArticles(
        self, request: knowledge_service_pb2.ImportArticlesRequest, _context: Context
    ) -> knowledge_service_pb2.ImportArticlesResponse:
        """Bring in some pages."""
        done = await self._knowledge.bring_in(caller_tenant(), [_content(each) for each in request.articles])
        return knowledge_service_pb2.ImportArticlesResponse(
            created_count=done.created,
            changed_count=done.changed,
            unchanged_count=done.unchanged,
            refused=[
                knowledge_service_pb2.RefusedArticle(source=one.source, reason=one.reason, detail=one.detail)
                for one in done.refused
            ],
        )

    async def SearchArticles(
        self, request: knowledge_service_pb2.SearchArticlesRequest, _context: Context
    ) -> knowledge_service_pb2.SearchArticlesResponse:
        """Find the passages that fit a question."""
        limit = min(request.limit or _FOUND, _MOST_FOUND)
        found = await self._knowledge.search(
            caller_tenant(), request.query, request.language, kind=request.kind, limit=limit
        )
        return knowledge_service_pb2.SearchArticlesResponse(passages=[_passage(one) for one in found])

    async def ListArticleSuggestions(
        self, request: knowledge_service_pb2.ListArticleSuggestionsRequest, _context: Context
    ) -> knowledge_service_pb2.ListArticleSuggestionsResponse:
        """List articles that are worth writing."""
        limit = min(request.limit or _FOUND, _MOST_FOUND)
        ideas, looked_at = await self._ideas.missing(caller_tenant(), request.min_tickets)
        return knowledge_service_pb2.ListArticleSuggestionsResponse(
            suggestions=[_suggestion(idea) for idea in ideas[:limit]], ticket_count=looked_at
        )


def registrations(
    database: Database, tickets: grpc.aio.Channel, tokens: PageTokens, clock: Clock = utc_now
) -> Sequence[Registration]:
    """Return the servicers of articles: the public API's and the frontend's."""
    knowledge = Knowledge(database, clock)
    ideas = ArticleIdeas(database, knowledge, TicketReader(tickets))
    return (
        Registration(
            knowledge_service_pb2_grpc.add_KnowledgeServiceServicer_to_server,
            KnowledgeServicer(knowledge, ideas, tokens),
        ),
        Registration(
            knowledge_base_pb2_grpc.add_KnowledgeBaseServicer_to_server, KnowledgeBaseServicer(knowledge, ideas)
        ),
    )


def _kind(name: str) -> Kind:
    return "policy" if name == "policy" else "article"


def _content(given: knowledge_service_pb2.ArticleContent) -> Content:
    return Content(
        given.body,
        _FORMATS.get(given.format, "text"),
        _kind(given.kind),
        given.title,
        given.language,
        given.url,
        given.status,
        given.source,
    )


def _article(article: Article, body: str | None = None) -> article_pb2.Article:
    return article_pb2.Article(
        id=str(article.article_id),
        kind=article.kind,
        title=article.title,
        body=article.body if body is None else body,
        language=article.language,
        url=article.url,
        status=article.status,
        source=article.source,
        create_time=timestamp(article.create_time),
        update_time=timestamp(article.update_time),
        etag=etag_of(article),
    )


def _passage(found: Found) -> article_pb2.Passage:
    return article_pb2.Passage(
        article_id=str(found.article_id),
        title=found.title,
        url=found.url,
        text=found.text,
        kind=found.kind,
        language=found.language,
        score=found.score,
        similarity=found.similarity,
    )


def _suggestion(idea: Idea) -> article_pb2.ArticleSuggestion:
    topic = idea.topic
    return article_pb2.ArticleSuggestion(
        topic=topic.name,
        priority=idea.priority,
        article_type=idea.article_type,
        ticket_count=len(topic.tickets),
        customer_count=topic.customer_count,
        deflectable_count=topic.deflectable_count,
        resolution_hours=topic.resolution_hours,
        nearest_similarity=idea.nearest,
        sample_subjects=topic.sample_subjects,
        sample_tickets=[ticket.number for ticket in topic.tickets[:5]],
    )
