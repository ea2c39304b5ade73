"""Whether a request speaks of somebody: by the ids and addresses that are known of them, as whole words."""

import json
import re
from collections.abc import Collection

from services.crm.providers.provider import Request

_WORD = rb"[A-Za-z0-9_]"


def mentioning(texts: Collection[str]) -> re.Pattern[bytes] | None:
    """Return what finds any of these texts in bytes; None when there is none.

    A text is found in clear and as JSON escapes it, whatever the case of plain letters, and not as a part of a longer
    word: the customer 17 is not mentioned by order 1738.
    """
    forms = {form for text in texts for form in (text.encode(), json.dumps(text)[1:-1].encode())}
    if not forms:
        return None
    either = b"|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.compile(rb"(?<!%b)(?:%b)(?!%b)" % (_WORD, either, _WORD), re.IGNORECASE)


def mentions(request: Request, pattern: re.Pattern[bytes]) -> bool:
    """Return whether the pattern stands in the body or in a kept header."""
    headers = (value.encode("utf-8", "surrogatepass") for _, value in request.headers)
    return any(pattern.search(content) for content in (request.body, *headers))
