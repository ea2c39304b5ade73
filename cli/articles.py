"""An operator's calls about a shop's articles and policies."""

from collections.abc import Iterable, Iterator
from typing import Any

import grpc
from rapport.recommendations.v1 import knowledge_service_pb2, knowledge_service_pb2_grpc

from cli.article_files import Content
from cli.errors import CommandError
from cli.operator import Operator, as_dict, command_error, operator_of
from cli.suite.folder import SuiteFolder

_PAGE = 200
_SECONDS = 60
_BATCH_PAGES = 50
_BATCH_BYTES = 1_200_000


async def import_articles(folder: SuiteFolder, tenant: str, pages: Iterable[Content]) -> dict[str, Any]:
    """Bring in pages, some at a time; return the counts and what was refused.

    Raises:
        CommandError: some batch failed for another reason than its pages; `details` hold what was brought in before.
    """
    counts = dict.fromkeys(("created", "changed", "unchanged"), 0)
    refused: list[dict[str, str]] = []
    try:
        async with operator_of(folder) as operator:
            for batch in _batches(pages):
                for answer in await _bring(operator, tenant, batch, refused):
                    for name in counts:
                        counts[name] += getattr(answer, f"{name}_count")
                    refused += [as_dict(one) for one in answer.refused]
    except (CommandError, OSError) as error:
        if not any(counts.values()) and not refused:
            raise
        reason = error.reason if isinstance(error, CommandError) else "UNREADABLE"
        raise CommandError(str(error), reason=reason, details={**counts, "refused": refused}) from error
    return {**counts, "refused": refused}


async def list_articles(folder: SuiteFolder, tenant: str, kind: str, status: str, limit: int) -> list[dict[str, Any]]:
    """Return articles without their bodies, newest first."""
    found: list[dict[str, Any]] = []
    token = ""
    async with operator_of(folder) as operator:
        while True:
            request = knowledge_service_pb2.ListArticlesRequest(
                page_size=min(_PAGE, limit - len(found)), page_token=token, kind=kind, status=status
            )
            page = await _stub(operator).ListArticles(
                request, metadata=await operator.metadata(tenant), timeout=_SECONDS
            )
            found += [as_dict(each) for each in page.articles]
            token = page.next_page_token
            if not token or len(found) >= limit:
                return found


async def get_article(folder: SuiteFolder, tenant: str, article: str) -> dict[str, Any]:
    """Return an article."""
    return await _ask(folder, tenant, "GetArticle", knowledge_service_pb2.GetArticleRequest(article=article))


async def delete_article(folder: SuiteFolder, tenant: str, article: str) -> None:
    """Delete an article."""
    await _ask(folder, tenant, "DeleteArticle", knowledge_service_pb2.DeleteArticleRequest(article=article))


async def search_articles(folder: SuiteFolder, tenant: str, query: str, language: str, limit: int) -> dict[str, Any]:
    """Return the passages that fit a question, the best first."""
    request = knowledge_service_pb2.SearchArticlesRequest(query=query, language=language, limit=limit)
    return await _ask(folder, tenant, "SearchArticles", request)


async def suggest_articles(folder: SuiteFolder, tenant: str, limit: int, min_tickets: int) -> dict[str, Any]:
    """Return articles that are worth writing, the most wanted first."""
    request = knowledge_service_pb2.ListArticleSuggestionsRequest(limit=limit, min_tickets=min_tickets)
    return await _ask(folder, tenant, "ListArticleSuggestions", request)


def _batches(pages: Iterable[Content]) -> Iterator[list[Content]]:
    """Yield pages in batches that fit into one message."""
    batch: list[Content] = []
    size = 0
    for page in pages:
        length = page.ByteSize()
        if batch and (len(batch) >= _BATCH_PAGES or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(page)
        size += length
    if batch:
        yield batch


async def _bring(
    operator: Operator, tenant: str, batch: list[Content], refused: list[dict[str, str]]
) -> list[knowledge_service_pb2.ImportArticlesResponse]:
    """Send a batch; one with a page that breaks a rule goes page by page, so that only that page is refused."""
    request = knowledge_service_pb2.ImportArticlesRequest(articles=batch)
    try:
        metadata = await operator.metadata(tenant)
        return [await _stub(operator).ImportArticles(request, metadata=metadata, timeout=_SECONDS)]
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            raise
        if len(batch) == 1:
            meaning = command_error(error)
            refused.append({"source": batch[0].source, "reason": meaning.reason, "detail": meaning.message})
            return []
    return [answer for page in batch for answer in await _bring(operator, tenant, [page], refused)]


async def _ask(folder: SuiteFolder, tenant: str, method: str, request: Any) -> dict[str, Any]:
    async with operator_of(folder) as operator:
        call = getattr(_stub(operator), method)
        return as_dict(await call(request, metadata=await operator.metadata(tenant), timeout=_SECONDS))


def _stub(operator: Operator) -> knowledge_service_pb2_grpc.KnowledgeServiceStub:
    return operator.stub(knowledge_service_pb2_grpc.KnowledgeServiceStub, "recommendations")
