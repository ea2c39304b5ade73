"""`NAME=VALUE` options that may be repeated, also with the same name."""

from collections.abc import Sequence

from cli.errors import CommandError


def named_values(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Read the texts in their order; a message about a wrong one never shows it, for it may be a secret.

    Raises:
        CommandError: a text has no name or no equals sign.
    """
    found = []
    for number, text in enumerate(texts, start=1):
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise CommandError(f"{option} number {number}: write NAME=VALUE.", reason="USAGE")
        found.append((name, value))
    return found
