"""What a shop's articles and policies say: keeping them, bringing them in, and finding the passage that answers."""

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
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

MAX_SHOWN_BYTES = 1_000_000
"""A list with bodies ends with the article with which they amount to as much: an answer has a limit."""

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
    """What an article is to be.

    Attributes:
        language: may be empty, which means that it is guessed.
        status: may be empty: a new article is published then, and one that is imported again keeps what it has.
    """

    body: str
    form: Format = "text"
    kind: Kind = "article"
    title: str = ""
    language: str = ""
    url: str = ""
    status: str = ""
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
        texts = await asyncio.to_thread(lambda: [_as_text(vector) for vector in vectors])
        async with self._database.driver_tenant(tenant_id) as driver:
            return await knowledge_store.nearest(driver, tenant_id, texts)

    async def get(self, tenant_id: UUID, article_id: UUID) -> Article:
        """Return an article.

        Raises:
            ArticleNotFoundError: there is none with this id.
        """
        async with self._database.tenant(tenant_id) as connection:
            return await _find(connection, tenant_id, article_id)

    async def listed(
        self, tenant_id: UUID, *, kind: str = "", status: str = "", before: UUID | None, limit: int
    ) -> list[Article]:
        """Return articles without their bodies, newest first, older than the one with the id `before`."""
        async with self._database.tenant(tenant_id) as connection:
            return await knowledge_store.listed(
                connection, tenant_id, kind=kind, status=status, before=before, limit=limit
            )

    async def shown(self, tenant_id: UUID, *, status: str = "", limit: int, offset: int = 0) -> list[Article]:
        """Return articles with their bodies, newest first; fewer than `limit` where the bodies are long."""
        async with self._database.tenant(tenant_id) as connection:
            return await knowledge_store.listed(
                connection, tenant_id, status=status, limit=limit, offset=offset, body_bytes=MAX_SHOWN_BYTES
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
            await self._save(connection, tenant_id, totals, [(None, prepared)])
        return prepared.article

    async def change(self, tenant_id: UUID, article_id: UUID, edit: Edit, expected: str = "") -> Article:
        """Change an article; `expected` is the etag that the caller has seen.

        Raises:
            ArticleNotFoundError, ArticleInvalidError, ArticleTooLongError, KnowledgeFullError, EtagMismatchError: see
                there.
        """
        while True:
            current = await self.get(tenant_id, article_id)
            require(expected, etag_of(current))
            # Pages are read before the lock is taken: one that takes long holds nobody else up.
            changed = await asyncio.to_thread(_edited, current, edit)
            if changed == current:
                return current
            changed = replace(changed, revision=current.revision + 1, update_time=self._clock())
            prepared = _Prepared(changed, await asyncio.to_thread(_pieces, changed))
            async with self._database.tenant(tenant_id) as connection:
                totals = await knowledge_store.hold(connection, tenant_id)
                if await _find(connection, tenant_id, article_id) == current:
                    await self._save(connection, tenant_id, totals, [(current, prepared)])
                    return changed

    async def delete(self, tenant_id: UUID, article_id: UUID, expected: str = "") -> None:
        """Delete an article.

        Raises:
            ArticleNotFoundError: there is none with this id.
            EtagMismatchError: it was changed in between.
        """
        async with self._database.tenant(tenant_id) as connection:
            await knowledge_store.hold(connection, tenant_id)
            current = await _find(connection, tenant_id, article_id)
            require(expected, etag_of(current))
            await knowledge_store.remove(connection, tenant_id, article_id)
            await knowledge_store.count_anew(connection, tenant_id)
            if _cited(current) is not None:
                await advice_store.outdate(connection, tenant_id)

    async def bring_in(self, tenant_id: UUID, contents: Sequence[Content]) -> Imported:
        """Bring in pages, each known by its source.

        A page that is the same as in the import before changes nothing, also where the article was edited since. One
        that changed wins over such edits; without a status it leaves the article's own.

        Raises:
            KnowledgeFullError: there is no room for them; none is taken.
        """
        read, refused = await asyncio.to_thread(self._all_prepared, contents)
        async with self._database.tenant(tenant_id) as connection:
            totals = await knowledge_store.hold(connection, tenant_id)
            known = await knowledge_store.by_sources(connection, tenant_id, list(read))
            created = [(None, one) for source, one in read.items() if source not in known]
            changed = [
                (known[source], _after(known[source], one))
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
            content.status or "published",
            content.source,
            revision=1,
            create_time=now,
            update_time=now,
            imported=etag(*astuple(content)) if content.source else "",
        )
        return _Prepared(article, _pieces(article), says_status=bool(content.status))

    async def _save(
        self,
        connection: AsyncConnection,
        tenant_id: UUID,
        totals: Totals,
        changes: Sequence[tuple[Article | None, "_Prepared"]],
    ) -> None:
        """Keep articles, each given with what it was before, within the limits; advice that may cite one is renewed."""
        for _, after in changes:
            await knowledge_store.save(connection, tenant_id, after.article, after.pieces)
        amount = await knowledge_store.count_anew(connection, tenant_id)
        # What was over a limit before may still be changed as long as it does not grow.
        if amount.article_count > max(MAX_ARTICLES, totals.article_count):
            raise KnowledgeFullError("articles", MAX_ARTICLES)
        if amount.passage_count > max(MAX_PASSAGES, totals.passage_count):
            raise KnowledgeFullError("passages", MAX_PASSAGES)
        if any(_cited(before) != _cited(after.article) for before, after in changes):
            await advice_store.outdate(connection, tenant_id)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An article that is ready to be stored, and whether its page says which status it has."""

    article: Article
    pieces: tuple[NewPassage, ...]
    says_status: bool = True


def etag_of(article: Article) -> str:
    """Return the etag of an article's present state."""
    return etag("article", str(article.article_id), str(article.revision))


def _passage(found: Found) -> Passage:
    score = round(found.score, 6)
    return Passage(str(found.article_id), found.title, found.url, found.text, score, found.kind, found.language)


async def _find(connection: AsyncConnection, tenant_id: UUID, article_id: UUID) -> Article:
    found = await knowledge_store.get(connection, tenant_id, article_id)
    if found is None:
        raise ArticleNotFoundError(str(article_id))
    return found


def _edited(current: Article, edit: Edit) -> Article:
    """Return an article as it is after an edit; a text that is the article's own is none, whatever its form."""
    body, form = edit.body, edit.form
    if body is None or body.replace("\r\n", "\n").strip() == current.body:
        body, form = current.body, "text"
    written = article_text.read(body, form, edit.title or current.title)
    return replace(
        current,
        title=written.title,
        body=written.text,
        kind=edit.kind or current.kind,
        language=edit.language or current.language,
        url=current.url if edit.url is None else edit.url,
        status=edit.status or current.status,
    )


def _cited(article: Article | None) -> tuple[str, ...] | None:
    """Return what advice may rest on of an article; None where it may not rest on it."""
    if article is None or article.status != "published":
        return None
    return article.kind, article.title, article.body, article.language, article.url


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


def _after(known: Article, given: _Prepared) -> _Prepared:
    """Return a known article as the import has it now."""
    status = given.article.status if given.says_status else known.status
    article = replace(
        given.article,
        article_id=known.article_id,
        status=status,
        revision=known.revision + 1,
        create_time=known.create_time,
    )
    return replace(given, article=article, pieces=given.pieces if status == "published" else ())


def _same(known: Article, given: Article) -> bool:
    """Tell whether the page is the one that the last import brought, or one without an import is as it says."""
    if known.imported:
        return known.imported == given.imported
    given = replace(given, imported="", article_id=known.article_id, revision=known.revision)
    return known == replace(given, create_time=known.create_time, update_time=known.update_time)


def _vectors(texts: Sequence[str]) -> list[str | None]:
    return [_as_text(vector) for vector in meanings(texts)]


def _as_text(vector: NDArray[np.float32]) -> str | None:
    """Return a vector as the database reads it; None for one without a direction, which is near to nothing."""
    return f"[{','.join(f'{value:.5f}' for value in vector)}]" if vector.any() else None
