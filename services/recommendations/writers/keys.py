"""What both protocols share: the credential from its file, and the tokens that a provider counts."""

from pathlib import Path

from services.recommendations.writers.prices import Usage
from services.recommendations.writers.provider import ProviderError

_LONGEST_KEY = 10_000
_MOST_TOKENS = 10_000_000


def read(path: Path | None) -> str:
    """Return the credential in a file, a placeholder for a server that wants none.

    Raises:
        ProviderError: the file cannot be read or is empty.
    """
    if path is None:
        return "none"
    try:
        with path.open(encoding="ascii") as file:
            key = file.read(_LONGEST_KEY).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ProviderError("credential", free=True) from error
    if not key:
        raise ProviderError("credential", free=True)
    return key


def usage(input_tokens: object, output_tokens: object) -> Usage | None:
    """Return what a provider says that a call took; None when it says nothing that can be true."""
    if not isinstance(input_tokens, int) or not isinstance(output_tokens, int):
        return None
    if not (0 <= input_tokens <= _MOST_TOKENS and 0 <= output_tokens <= _MOST_TOKENS):
        return None
    return Usage(input_tokens, output_tokens)
