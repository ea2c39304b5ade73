"""What a shop's articles and policies say: keeping them, bringing them in, and finding the passage that answers."""

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from servicekit.etag import etag, require
from servicekit.ids import uuid7
from services.recommendations import advice_store, article_text, knowledge_store, languages, passages
from services.recommendations.article_text import Format
from services.recommendations.case import Passage
from services.recommendations.customers import Clock, utc_now
from services.recommendations.errors import (
    ArticleExistsError,
    ArticleInvalidError,
    ArticleNotFoundError,
    ArticleTooLongError,
    KnowledgeFullError,
)
from services.recommendations.knowledge_store import Article, Found, Kind, NewPassage, Question, Totals
from services.recommendations.meaning import meanings

MAX_ARTICLES = 2_000
MAX_PASSAGES = 10_000
MIN_SIMILARITY = 0.4
"""A passage whose meaning is farther from what a customer wrote is not cited, whatever words it shares."""
ANSWERED_SIMILARITY = 0.5
"""From here on an article counts as answering a topic."""

_MAX_READ = 4_000
_MAX_WORDS = 64
_WORD = re.compile(r"\w{2,40}")
_MAX_OFFERS = 5
_OFFERS = "discount discounts voucher coupon promo code offer Rabatt Gutschein Rabattcode remise réduction"
"""Words that a policy which makes an offer may use."""

# How Postgres compares the words of a language: by their stems where it knows them, else just as they stand.
_CONFIGS = {
    "ar": "arabic", "ca": "catalan", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "eu": "basque", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian",
    "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali", "nl": "dutch",
    "no": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "sv": "swedish",
    "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Content:
    """What an article is to be; `language` may be empty, which means that it is guessed."""

    body: str
    form: Format = "text"
    kind: Kind = "article"
    title: str = ""
    language: str = ""
    url: str = ""
    status: str = "published"
    source: str = ""


@dataclass(frozen=True, slots=True)
class Edit:
    """What to change of an article; None leaves each."""

    kind: Kind | None = None
    title: str | None = None
    body: str | None = None
    form: Format = "text"
    language: str | None = None
    url: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A page that could not be taken, and why."""

    source: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the pages of an import."""

    created: int
    changed: int
    unchanged: int
    refused: tuple[Refused, ...]


class Knowledge:
    """The articles of all tenants."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    async def passages(self, tenant_id: UUID, text: str, language: str = "", limit: int = 5) -> tuple[Passage, ...]:
        """Return what the shop says about what a customer wrote, the best first; nothing that is far from it."""
        found = await self.search(tenant_id, text, language, limit=limit)
        return tuple(_passage(one) for one in found if one.similarity >= MIN_SIMILARITY)

    async def offers(self, tenant_id: UUID, language: str = "") -> tuple[Passage, ...]:
        """Return what the shop's policies may say of discounts, whatever a customer wrote about."""
        found = await self.search(tenant_id, _OFFERS, language, kind="policy", limit=_MAX_OFFERS)
        return tuple(_passage(one) for one in found)

    async def search(
        self, tenant_id: UUID, text: str, language: str = "", *, kind: str = "", limit: int = 10
    ) -> list[Found]:
        """Return the passages that fit a question by their words or by their meaning, the best first."""
        asked = text[:_MAX_READ]
        vector = _vectors([asked])[0]
        words = dict.fromkeys(word.lower() for word in _WORD.findall(asked))
        query = " | ".join(f"'{word}'" for word in list(words)[:_MAX_WORDS])
        async with self._database.driver_tenant(tenant_id) as driver:
            return await knowledge_store.search(driver, tenant_id, Question(query, vector, language, kind, limit))

    async def nearest(self, tenant_id: UUID, vectors: NDArray[np.float32]) -> list[float]:
        """Return for each vector how similar the nearest passage is; 0 where there is none."""
        if not len(vectors):
            return []
        async with self._database.driver_tenant(tenant_id) as driver:
            return await knowledge_store.nearest(driver, tenant_id, [_as_text(vector) for vector in vectors])

    async def get(self, tenant_id: UUID, article_id: UUID) -> Article:
        """Return an article.

        Raises:
            ArticleNotFoundError: there is none with this id.
        """
        async with self._database.tenant(tenant_id) as connection:
            return await _find(connection, tenant_id, article_id)

    async def listed(
        self, tenant_id: UUID, *, kind: str = "", status: str = "", before: UUID | None, limit: int, offset: int = 0
    ) -> list[Article]:
        """Return articles, newest first, older than the one with the id `before`."""
        async with self._database.tenant(tenant_id) as connection:
            return await knowledge_store.listed(
                connection, tenant_id, kind=kind, status=status, before=before, limit=limit, offset=offset
            )

    async def count(self, tenant_id: UUID, status: str = "") -> int:
        """Return how many articles there are."""
        async with self._database.tenant(tenant_id) as connection:
            return await knowledge_store.count(connection, tenant_id, status)

    async def create(self, tenant_id: UUID, content: Content) -> Article:
        """Create an article.

        Raises:
            ArticleInvalidError, ArticleTooLongError, ArticleExistsError, KnowledgeFullError: see there.
        """
        prepared = await asyncio.to_thread(self._prepared, content)
        async with self._database.tenant(tenant_id) as connection:
            totals = await knowledge_store.hold(connection, tenant_id)
            if content.source and await knowledge_store.by_sources(connection, tenant_id, [content.source]):
                raise ArticleExistsError(content.source)
            await self._save(connection, tenant_id, totals, [prepared])
        return prepared.article

    async def change(self, tenant_id: UUID, article_id: UUID, edit: Edit, expected: str = "") -> Article:
        """Change an article; `expected` is the etag that the caller has seen.

        Raises:
            ArticleNotFoundError, ArticleInvalidError, ArticleTooLongError, KnowledgeFullError, EtagMismatchError: see
                there.
        """
        async with self._database.tenant(tenant_id) as connection:
            totals = await knowledge_store.hold(connection, tenant_id)
            current = await _find(connection, tenant_id, article_id)
            require(expected, etag_of(current))
            form: Format = "text" if edit.body is None else edit.form
            body, title = edit.body or current.body, edit.title or current.title
            written = await asyncio.to_thread(article_text.read, body, form, title)
            changed = replace(
                current,
                title=written.title,
                body=written.text,
                kind=edit.kind or current.kind,
                language=edit.language or current.language,
                url=current.url if edit.url is None else edit.url,
                status=edit.status or current.status,
            )
            if changed == current:
                return current
            changed = replace(changed, revision=current.revision + 1, update_time=self._clock())
            prepared = _Prepared(changed, await asyncio.to_thread(_pieces, changed))
            await self._save(connection, tenant_id, totals, [prepared])
        return changed

    async def delete(self, tenant_id: UUID, article_id: UUID, expected: str = "") -> None:
        """Delete an article.

        Raises:
            ArticleNotFoundError: there is none with this id.
            EtagMismatchError: it was changed in between.
        """
        async with self._database.tenant(tenant_id) as connection:
            totals = await knowledge_store.hold(connection, tenant_id)
            require(expected, etag_of(await _find(connection, tenant_id, article_id)))
            await knowledge_store.remove(connection, tenant_id, article_id)
            await knowledge_store.count_anew(connection, tenant_id, totals.configs)
            await advice_store.outdate(connection, tenant_id)

    async def bring_in(self, tenant_id: UUID, contents: Sequence[Content]) -> Imported:
        """Bring in pages, each known by its source; what is the same as before changes nothing.

        Raises:
            KnowledgeFullError: there is no room for them; none is taken.
        """
        read, refused = await asyncio.to_thread(self._all_prepared, contents)
        async with self._database.tenant(tenant_id) as connection:
            totals = await knowledge_store.hold(connection, tenant_id)
            known = await knowledge_store.by_sources(connection, tenant_id, list(read))
            created = [one for source, one in read.items() if source not in known]
            changed = [
                _Prepared(_after(known[source], one.article), one.pieces)
                for source, one in read.items()
                if source in known and not _same(known[source], one.article)
            ]
            if created or changed:
                await self._save(connection, tenant_id, totals, [*created, *changed])
        unchanged = len(read) - len(created) - len(changed)
        return Imported(len(created), len(changed), unchanged, tuple(refused))

    def _all_prepared(self, contents: Iterable[Content]) -> tuple[dict[str, "_Prepared"], list[Refused]]:
        """Return what can be taken by its source, and what cannot."""
        read: dict[str, _Prepared] = {}
        refused: list[Refused] = []
        for content in contents:
            if not content.source:
                error: ArticleInvalidError | ArticleTooLongError = ArticleInvalidError("source")
            else:
                try:
                    read[content.source] = self._prepared(content)
                    continue
                except (ArticleInvalidError, ArticleTooLongError) as found:
                    error = found
            refused.append(Refused(content.source, error.reason, str(error)))
        return read, refused

    def _prepared(self, content: Content) -> "_Prepared":
        """Return a new article with its passages."""
        written = article_text.read(content.body, content.form, content.title)
        language = content.language or languages.guess(f"{written.title}\n{written.text}")
        now = self._clock()
        article = Article(
            uuid7(),
            content.kind,
            written.title,
            written.text,
            language,
            content.url,
            content.status,
            content.source,
            revision=1,
            create_time=now,
            update_time=now,
        )
        return _Prepared(article, _pieces(article))

    async def _save(
        self, connection: AsyncConnection, tenant_id: UUID, totals: Totals, prepared: Sequence["_Prepared"]
    ) -> None:
        """Keep articles within the limits, and make advice that may cite them out of date."""
        for one in prepared:
            await knowledge_store.save(connection, tenant_id, one.article, one.pieces)
        used = {piece.config for one in prepared for piece in one.pieces}
        after = await knowledge_store.count_anew(connection, tenant_id, totals.configs | used)
        # What was over a limit before may still be changed as long as it does not grow.
        if after.article_count > max(MAX_ARTICLES, totals.article_count):
            raise KnowledgeFullError("articles", MAX_ARTICLES)
        if after.passage_count > max(MAX_PASSAGES, totals.passage_count):
            raise KnowledgeFullError("passages", MAX_PASSAGES)
        await advice_store.outdate(connection, tenant_id)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An article that is ready to be stored."""

    article: Article
    pieces: tuple[NewPassage, ...]


def etag_of(article: Article) -> str:
    """Return the etag of an article's present state."""
    return etag("article", str(article.article_id), str(article.revision))


def _passage(found: Found) -> Passage:
    return Passage(str(found.article_id), found.title, found.url, found.text, round(found.score, 6), found.kind)


async def _find(connection: AsyncConnection, tenant_id: UUID, article_id: UUID) -> Article:
    found = await knowledge_store.get(connection, tenant_id, article_id)
    if found is None:
        raise ArticleNotFoundError(str(article_id))
    return found


def _pieces(article: Article) -> tuple[NewPassage, ...]:
    """Return the passages by which an article is found; a draft has none."""
    if article.status != "published":
        return ()
    config = _CONFIGS.get(article.language, "simple")
    cut = passages.cut(article.body)
    vectors = _vectors([f"{article.title}. {piece.heading}. {piece.text}" for piece in cut])
    return tuple(
        NewPassage(piece.heading, piece.text, config, vector) for piece, vector in zip(cut, vectors, strict=True)
    )


def _after(known: Article, given: Article) -> Article:
    """Return a known article as the import has it now."""
    return replace(
        given,
        article_id=known.article_id,
        revision=known.revision + 1,
        create_time=known.create_time,
    )


def _same(known: Article, given: Article) -> bool:
    return known == replace(
        given,
        article_id=known.article_id,
        revision=known.revision,
        create_time=known.create_time,
        update_time=known.update_time,
    )


def _vectors(texts: Sequence[str]) -> list[str | None]:
    return [_as_text(vector) for vector in meanings(texts)]


def _as_text(vector: NDArray[np.float32]) -> str | None:
    """Return a vector as the database reads it; None for one without a direction, which is near to nothing."""
    return f"[{','.join(f'{value:.5f}' for value in vector)}]" if vector.any() else None
