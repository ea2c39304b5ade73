"""The pages that Envoy serves by itself: the OpenAPI document and the documentation made of it."""

import json
from importlib.resources import files


def openapi(public_url: str) -> str:
    """Return the OpenAPI document as JSON text; `public_url` is where the API is, empty for the page's own origin."""
    document = json.loads(_read("openapi.json"))
    document["servers"] = [{"url": public_url or "/"}]
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def docs() -> str:
    """Return the documentation page (HTML); it holds everything it needs and reads `/openapi.json`."""
    return _read("docs.html")


def _read(name: str) -> str:
    return files("gateway").joinpath(name).read_text(encoding="utf-8")
