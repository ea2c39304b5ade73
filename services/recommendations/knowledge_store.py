"""All SQL on articles and their passages, on a transaction that is bound to the tenant.

A search is one statement that reads all passages of the shop: it ranks them by their words and by their meaning, and
adds the two up by reciprocal rank.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import RowMapping, and_, delete, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recommendations.knowledge_tables import articles, knowledge, passages

Kind = Literal["article", "policy"]


@dataclass(frozen=True, slots=True)
class Article:
    """An article as it is kept.

    Attributes:
        body: its text; empty where it was not asked for.
        revision: rises with every change.
        imported: a digest of the page that an import last brought; empty where none did.
    """

    article_id: UUID
    kind: Kind
    title: str
    body: str
    language: str
    url: str
    status: str
    source: str
    revision: int
    create_time: datetime
    update_time: datetime
    imported: str = ""


@dataclass(frozen=True, slots=True)
class NewPassage:
    """A passage to store: its words are compared in the way that `config` names, `vector` is its meaning or nothing."""

    heading: str
    text: str
    config: str
    vector: str | None


@dataclass(frozen=True, slots=True)
class Totals:
    """What a shop's articles amount to."""

    article_count: int
    passage_count: int


@dataclass(frozen=True, slots=True)
class Question:
    """What is searched for: words as a query of Postgres', the meaning as a vector; either may be empty."""

    words: str
    vector: str | None
    language: str
    kind: str
    limit: int


@dataclass(frozen=True, slots=True)
class Found:
    """A passage that fits: `score` adds up the reciprocal ranks, `similarity` is a cosine, `worded` ranks words."""

    article_id: UUID
    number: int
    kind: Kind
    language: str
    title: str
    url: str
    heading: str
    text: str
    score: float
    similarity: float
    worded: float


# Ranks beyond the 50th count for nothing, and what is said in another language than the one asked for counts half.
_SEARCH = """
WITH asked AS MATERIALIZED (
    SELECT one AS config, to_tsquery(one::regconfig, $2) AS query, $3::text::public.halfvec AS vector
    FROM recommendations.knowledge, unnest(configs) AS one WHERE tenant_id = $1
), scored AS MATERIALIZED (
    SELECT p.article_id, p.number, p.language,
        coalesce(1 - (p.vector <=> a.vector), 0) AS similarity,
        CASE WHEN p.words @@ a.query THEN ts_rank('{0.5, 0.5, 0.5, 1}'::real[], p.words, a.query) ELSE 0 END AS worded
    FROM recommendations.passages AS p JOIN asked AS a USING (config)
    WHERE p.tenant_id = $1 AND $5 IN ('', p.kind)
), placed AS (
    SELECT *, row_number() OVER (ORDER BY similarity DESC, article_id, number) AS near_place,
        row_number() OVER (ORDER BY worded DESC, article_id, number) AS worded_place
    FROM scored
), fused AS (
    SELECT *, (CASE WHEN near_place <= 50 AND similarity > 0 THEN 1.0 / (60 + near_place) ELSE 0 END
        + CASE WHEN worded_place <= 50 AND worded > 0 THEN 1.0 / (60 + worded_place) ELSE 0 END)
        * CASE WHEN $4 IN ('', language) THEN 1 ELSE 0.5 END AS score
    FROM placed
), best AS (
    SELECT * FROM fused WHERE score > 0 ORDER BY score DESC, similarity DESC, article_id, number LIMIT $6
)
SELECT b.article_id, b.number, p.kind, b.language, a.title, a.url, p.heading, p.text,
    b.score::float8 AS score, b.similarity::float8 AS similarity, b.worded::float8 AS worded
FROM best AS b
JOIN recommendations.passages AS p ON p.tenant_id = $1 AND p.article_id = b.article_id AND p.number = b.number
JOIN recommendations.articles AS a ON a.tenant_id = $1 AND a.article_id = b.article_id
ORDER BY b.score DESC, b.similarity DESC, b.article_id, b.number
"""

# Each vector is read once from its text, not once more for every passage that it is compared with.
_NEAREST = """
WITH asked AS MATERIALIZED (
    SELECT given.vector::public.halfvec AS vector, given.place
    FROM unnest($2::text[]) WITH ORDINALITY AS given (vector, place)
)
SELECT coalesce((
    SELECT max(1 - (p.vector <=> asked.vector)) FROM recommendations.passages AS p WHERE p.tenant_id = $1
), 0)::float8 AS similarity
FROM asked ORDER BY place
"""

_ADD_PASSAGES = text("""
INSERT INTO recommendations.passages
    (tenant_id, article_id, number, kind, language, config, vector, words, heading, text)
SELECT :tenant_id, :article_id, place, :kind, :language, config, vector::public.halfvec,
    setweight(to_tsvector(config::regconfig, CAST(:title AS text) || ' ' || heading), 'A')
        || setweight(to_tsvector(config::regconfig, body), 'D'),
    heading, body
FROM unnest(CAST(:headings AS text[]), CAST(:bodies AS text[]), CAST(:configs AS text[]), CAST(:vectors AS text[]))
    WITH ORDINALITY AS given (heading, body, config, vector, place)
""")


async def search(driver: Any, tenant_id: UUID, question: Question) -> list[Found]:
    """Return the passages that fit best, the best first; `driver` is a raw connection inside the tenant."""
    rows = await driver.fetch(
        _SEARCH, tenant_id, question.words, question.vector, question.language, question.kind, question.limit
    )
    return [Found(**row) for row in rows]


async def nearest(driver: Any, tenant_id: UUID, vectors: Sequence[str | None]) -> list[float]:
    """Return for each vector how similar the nearest passage is; 0 without any."""
    return [row["similarity"] for row in await driver.fetch(_NEAREST, tenant_id, list(vectors))]


async def hold(connection: AsyncConnection, tenant_id: UUID) -> Totals:
    """Return what the articles amount to; nobody else changes any until the transaction ends."""
    given = insert(knowledge).values(tenant_id=tenant_id, article_count=0, passage_count=0, configs=[])
    await connection.execute(given.on_conflict_do_nothing())
    chosen = select(knowledge).where(knowledge.c.tenant_id == tenant_id).with_for_update()
    row = (await connection.execute(chosen)).one()
    return Totals(row.article_count, row.passage_count)


async def count_anew(connection: AsyncConnection, tenant_id: UUID) -> Totals:
    """Count articles and passages again, and keep that and how words are compared; the caller holds the row."""
    configs = select(func.array_agg(passages.c.config.distinct())).where(passages.c.tenant_id == tenant_id)
    changed = (
        update(knowledge)
        .where(knowledge.c.tenant_id == tenant_id)
        .values(
            article_count=select(func.count()).where(articles.c.tenant_id == tenant_id).scalar_subquery(),
            passage_count=select(func.count()).where(passages.c.tenant_id == tenant_id).scalar_subquery(),
            configs=func.coalesce(configs.scalar_subquery(), []),
        )
    )
    row = (await connection.execute(changed.returning(knowledge))).one()
    return Totals(row.article_count, row.passage_count)


async def get(connection: AsyncConnection, tenant_id: UUID, article_id: UUID) -> Article | None:
    """Return an article."""
    wanted = and_(articles.c.tenant_id == tenant_id, articles.c.article_id == article_id)
    row = (await connection.execute(select(articles).where(wanted))).mappings().first()
    return _article(row) if row is not None else None


async def by_sources(connection: AsyncConnection, tenant_id: UUID, sources: Sequence[str]) -> dict[str, Article]:
    """Return the articles of these sources."""
    wanted = and_(articles.c.tenant_id == tenant_id, articles.c.source.in_(sources), articles.c.source != "")
    rows = (await connection.execute(select(articles).where(wanted))).mappings()
    return {row["source"]: _article(row) for row in rows}


async def listed(
    connection: AsyncConnection,
    tenant_id: UUID,
    *,
    kind: str = "",
    status: str = "",
    before: UUID | None = None,
    limit: int,
    offset: int = 0,
    body_bytes: int = 0,
) -> list[Article]:
    """Return articles, newest first; their ids rise with the time.

    Bodies come along only with `body_bytes`: articles then end behind the one with which they amount to as much.
    """
    wanted = articles.c.tenant_id == tenant_id
    if kind:
        wanted = and_(wanted, articles.c.kind == kind)
    if status:
        wanted = and_(wanted, articles.c.status == status)
    if before is not None:
        wanted = and_(wanted, articles.c.article_id < before)
    length = func.octet_length(articles.c.body) if body_bytes else literal(0)
    rows = select(articles.c.article_id, length.label("length")).where(wanted)
    page = rows.order_by(articles.c.article_id.desc()).limit(limit).offset(offset).subquery()
    newest_first = page.c.article_id.desc()
    passed = func.sum(page.c.length).over(order_by=newest_first) - page.c.length
    sums = select(page.c.article_id, passed.label("passed")).subquery()
    columns = [column for column in articles.c if column.name != "body"]
    chosen = (
        select(*columns, articles.c.body if body_bytes else literal("").label("body"))
        .join(sums, and_(articles.c.tenant_id == tenant_id, articles.c.article_id == sums.c.article_id))
        .where(sums.c.passed <= max(body_bytes - 1, 0))
        .order_by(articles.c.article_id.desc())
    )
    return [_article(row) for row in (await connection.execute(chosen)).mappings()]


async def count(connection: AsyncConnection, tenant_id: UUID, status: str) -> int:
    """Return how many articles there are with a status, or in all."""
    wanted = articles.c.tenant_id == tenant_id
    if status:
        wanted = and_(wanted, articles.c.status == status)
    return await connection.scalar(select(func.count()).select_from(articles).where(wanted)) or 0


async def save(connection: AsyncConnection, tenant_id: UUID, article: Article, pieces: Sequence[NewPassage]) -> None:
    """Keep an article, new or changed, with these passages and no others; the caller holds the row of the totals."""
    values = asdict(article)
    given = insert(articles).values(tenant_id=tenant_id, **values)
    changes = {name: value for name, value in values.items() if name not in {"article_id", "create_time", "source"}}
    await connection.execute(
        given.on_conflict_do_update(index_elements=[articles.c.tenant_id, articles.c.article_id], set_=changes)
    )
    await _drop_passages(connection, tenant_id, article.article_id)
    if pieces:
        await connection.execute(
            _ADD_PASSAGES,
            {
                "tenant_id": tenant_id,
                "article_id": article.article_id,
                "kind": article.kind,
                "language": article.language,
                "title": article.title,
                "headings": [piece.heading for piece in pieces],
                "bodies": [piece.text for piece in pieces],
                "configs": [piece.config for piece in pieces],
                "vectors": [piece.vector for piece in pieces],
            },
        )


async def remove(connection: AsyncConnection, tenant_id: UUID, article_id: UUID) -> None:
    """Remove an article and its passages."""
    await _drop_passages(connection, tenant_id, article_id)
    wanted = and_(articles.c.tenant_id == tenant_id, articles.c.article_id == article_id)
    await connection.execute(delete(articles).where(wanted))


async def _drop_passages(connection: AsyncConnection, tenant_id: UUID, article_id: UUID) -> None:
    wanted = and_(passages.c.tenant_id == tenant_id, passages.c.article_id == article_id)
    await connection.execute(delete(passages).where(wanted))


def _article(row: RowMapping) -> Article:
    return Article(**{name: value for name, value in row.items() if name != "tenant_id"})
