"""`rapport article …`: what a shop tells its customers in general, and what it should."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table, say
from cli.suite.folder import suite_folder

commands = typer.Typer(
    help="A shop's articles and policies: import them, search them, see which are missing.", no_args_is_help=True
)

Article = Annotated[str, typer.Argument(help="The article's id.", show_default=False)]

_ARTICLES = [("id", "left"), ("kind", "left"), ("status", "left"), ("", "left"), ("title", "left"), ("source", "left")]
_PASSAGES = [("near", "right"), ("kind", "left"), ("article", "left"), ("text", "left")]
_IDEAS = [("priority", "left"), ("tickets", "right"), ("one answer", "right"), ("topic", "left"), ("tickets", "left")]
_MOST_SHOWN = 20
_SHOWN_TEXT = 160


@commands.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A folder, a page, or a dump (.json, .jsonl).", show_default=False)],
    *,
    tenant: Tenant,
    kind: Annotated[str, typer.Option(help="article or policy, where a page does not say.")] = "article",
    language: Annotated[str, typer.Option(help="The language (en, de, …); without it, it is guessed.")] = "",
    base_url: Annotated[str, typer.Option(help="Where the pages of a folder stand, for links to them.")] = "",
    encoding: Annotated[str, typer.Option(help="How files are written that are not UTF-8.")] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Bring in Markdown, HTML and text pages of a folder, or a dump of pages; it may be repeated.

    A page is known by its path or id: what changed is changed, what is the same is left. Pages that cannot be taken are
    named; all others are taken.
    """
    from cli.article_files import Reading
    from cli.articles import import_articles
    from cli.operator import run

    if kind not in {"article", "policy"}:
        raise CommandError("--kind is article or policy.", reason="USAGE")
    reading = Reading(kind, language, base_url, encoding)
    failure: CommandError | None = None
    try:
        done = run(import_articles(suite_folder(data), tenant, reading.pages(path)))
    except CommandError as error:
        if "refused" not in error.details:
            raise
        failure, done = error, error.details
    unread = [{"source": source, "reason": "UNREADABLE", "detail": detail} for source, detail in reading.refused]
    done["refused"] = refused = [*unread, *done["refused"]]
    taken = done["created"] + done["changed"] + done["unchanged"]
    if not taken and not refused:
        raise CommandError(f"{path} holds no page.", reason="NOTHING_TO_IMPORT")
    if not as_json:
        _tell(done)
    elif failure is None:
        print_json(done)
    if failure is not None:
        raise failure


def _tell(done: Mapping[str, Any]) -> None:
    """Say what became of an import."""
    refused = done["refused"]
    taken = done["created"] + done["changed"] + done["unchanged"]
    for one in refused[:_MOST_SHOWN]:
        say(f"  {one['source']}: {one['detail']}")
    if len(refused) > _MOST_SHOWN:
        say(f"  and {len(refused) - _MOST_SHOWN} more")
    print_lines(
        f"{taken} pages: {done['created']} new, {done['changed']} changed, {done['unchanged']} as they were;"
        f" {len(refused)} refused."
    )


@commands.command("list")
def list_(
    *,
    tenant: Tenant,
    kind: Annotated[str, typer.Option(help="Only article or policy.")] = "",
    status: Annotated[str, typer.Option(help="Only published or draft.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=2000, help="How many to show at most.")] = 50,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List a shop's articles, newest first."""
    from cli.articles import list_articles
    from cli.operator import run

    found = run(list_articles(suite_folder(data), tenant, kind, status, limit))
    if as_json:
        print_json({"articles": found})
        return
    names = ("id", "kind", "status", "language", "title", "source")
    print_table("", _ARTICLES, [[one[name] for name in names] for one in found])


@commands.command()
def show(article: Article, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Show an article."""
    from cli.articles import get_article
    from cli.operator import run

    found = run(get_article(suite_folder(data), tenant, article))
    if as_json:
        print_json(found)
        return
    print_lines(f"# {found['title']}", found["url"] or "(stands nowhere)", "", found["body"])


@commands.command()
def delete(article: Article, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Delete an article; drafts cite it no longer."""
    from cli.articles import delete_article
    from cli.operator import run

    run(delete_article(suite_folder(data), tenant, article))
    if as_json:
        print_json({"id": article})
        return
    print_lines(f"{article} is deleted.")


@commands.command()
def search(
    question: Annotated[str, typer.Argument(help="A question in any words.", show_default=False)],
    *,
    tenant: Tenant,
    language: Annotated[str, typer.Option(help="The language of the answer (en, de, …).")] = "",
    limit: Annotated[int, typer.Option(min=1, max=50, help="How many to show at most.")] = 5,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show which passages fit a question, the best first."""
    from cli.articles import search_articles
    from cli.operator import run

    found = run(search_articles(suite_folder(data), tenant, question, language, limit))
    if as_json:
        print_json(found)
        return
    rows = [
        [f"{one['similarity']:.2f}", one["kind"], one["title"], " ".join(one["text"].split())[:_SHOWN_TEXT]]
        for one in found["passages"]
    ]
    print_table("", _PASSAGES, rows)


@commands.command()
def suggest(
    *,
    tenant: Tenant,
    min_tickets: Annotated[int, typer.Option(min=0, max=1000, help="How many tickets must share a topic.")] = 2,
    limit: Annotated[int, typer.Option(min=1, max=50, help="How many to show at most.")] = 10,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show what many customers ask and no article answers."""
    from cli.articles import suggest_articles
    from cli.operator import run

    found = run(suggest_articles(suite_folder(data), tenant, limit, min_tickets))
    if as_json:
        print_json(found)
        return
    rows = [
        [
            one["priority"],
            str(one["ticket_count"]),
            str(one["deflectable_count"]),
            one["topic"],
            ", ".join(one["sample_tickets"]),
        ]
        for one in found["suggestions"]
    ]
    print_table("", _IDEAS, rows)
    print_lines(f"of the newest {found['ticket_count']} tickets")
