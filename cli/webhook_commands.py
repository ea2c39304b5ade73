"""`rapport webhook …`: what a provider sent, looked at without a running suite."""

from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError
from cli.options import Json
from cli.output import print_json, print_lines
from cli.pairs import named_values

commands = typer.Typer(help="Judge captured webhooks.", no_args_is_help=True)

WEBHOOK_SECRET = "webhook_secret"  # noqa: S105 - the name of the secret


@commands.callback()
def _group() -> None:
    """Judge captured webhooks."""


@commands.command()
def verify(
    *,
    provider: Annotated[str, typer.Option(help="The provider, e.g. zendesk.")],
    secret: Annotated[
        list[str],
        typer.Option(
            metavar="webhook_secret=S",
            help="The secret; where the address is the proof, its token. Repeat for versions.",
        ),
    ],
    headers: Annotated[Path, typer.Option(metavar="FILE.json", help="The headers, a JSON object or a list of pairs.")],
    body: Annotated[Path, typer.Option(metavar="FILE", help="The body, byte for byte.")],
    config: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A setting of the connection; may be repeated.")
    ] = None,
    method: Annotated[str, typer.Option(help="The HTTP method.")] = "POST",
    url: Annotated[str, typer.Option(help="The address as the provider called it, with its query.")] = "",
    at: Annotated[str | None, typer.Option(metavar="ISO-8601", help="When it came in; now if not given.")] = None,
    as_json: Json = False,
) -> None:
    """Say whether a captured request proves itself, by which rule, and what is signed; nothing needs to run.

    It ends with 0 whenever it judged, also when the verdict is a refusal; with 2 when a file or an option is wrong.
    """
    from cli.webhooks import Captured, judged, read_body, read_headers

    settings = dict(named_values("--config", config or []))
    secrets = named_values("--secret", secret)
    if foreign := [name for name, _ in secrets if name != WEBHOOK_SECRET]:
        raise CommandError(f"--secret: '{foreign[0]}' verifies no webhook; give {WEBHOOK_SECRET}.", reason="USAGE")
    captured = Captured(
        method=method,
        url=url or f"https://rapport.invalid/webhooks/{provider}/token",
        headers=read_headers(headers),
        body=read_body(body),
    )
    verdict = judged(provider, settings, [text for _, text in secrets], captured, at)
    if as_json:
        print_json(verdict)
        return
    print_lines(f"{'Accepted' if verdict['accepted'] else 'Refused'}: {verdict['reason']}")
    for name, words in (("signed", "Signed"), ("rule", "Rule"), ("secret_version", "Secret version")):
        if verdict[name]:
            print_lines(f"{words}: {verdict[name]}")
