"""Make the reference pages from the code, and check that what the other pages say can be found or run.

Made: docs/reference/{configuration,errors,methods,command,metrics,tenant-configuration}.md. Checked: these are
current; every relative link and every path in backticks exists; every command and target named exists; every ```python
block runs.
"""

import inspect
import json
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import typer.main
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from pydantic import AliasChoices
from pydantic_settings import BaseSettings
from rapport.options.v1 import options_pb2

from tools.metrics import figures

ROOT = Path(__file__).resolve().parent.parent
IMAGE = ROOT / "gen" / "rapport.binpb"
REFERENCE = ROOT / "docs" / "reference"
SETTINGS = (
    "services.tenant.settings",
    "services.crm.settings",
    "services.tickets.settings",
    "services.recommendations.settings",
    "gateway.settings",
    "cli.elsewhere",
)
HEADER = "<!-- Made by `make gen`; do not edit. -->\n\n"
SERVICE_FIELD, VALUE_FIELD, METHOD_FIELD, ENUM_FIELD = 6, 2, 2, 5


def image() -> descriptor_pb2.FileDescriptorSet:
    """Read the descriptor image."""
    return descriptor_pb2.FileDescriptorSet.FromString(IMAGE.read_bytes())


def comment(file: descriptor_pb2.FileDescriptorProto, *path: int) -> str:
    """Return the leading comment of the element at `path`, in one line."""
    for location in file.source_code_info.location:
        if tuple(location.path) == path:
            return " ".join(location.leading_comments.split())
    return ""


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Lay out a Markdown table."""
    lines = [head, tuple("---" for _ in head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def configuration() -> str:
    """List every setting of every process."""
    text = "# Settings\n\nEvery setting is an environment variable. A setting without a default must be given.\n"
    for name in SETTINGS:
        module = import_module(name)
        for _, settings in inspect.getmembers(module, inspect.isclass):
            if issubclass(settings, BaseSettings) and settings.__module__ == name:
                listed = table(("Setting", "Default", "Meaning"), rows(settings))
                text += f"\n## {name.removesuffix('.settings')}\n\n{listed}"
    return text


def rows(settings: type[BaseSettings]) -> list[tuple[str, ...]]:
    """Describe the fields of one settings class."""
    prefix = str(settings.model_config.get("env_prefix", ""))
    found: list[tuple[str, ...]] = []
    for name, field in settings.model_fields.items():
        alias = field.validation_alias
        variable = str(alias.choices[0] if isinstance(alias, AliasChoices) else alias or f"{prefix}{name}".upper())
        default = "" if field.is_required() else f"`{field.get_default(call_default_factory=True)!s}`"
        found.append((f"`{variable}`", default, " ".join((field.description or "").split())))
    return found


def errors() -> str:
    """List every error reason."""
    text = "# Error reasons\n\nEvery error carries exactly one reason, over gRPC and over REST alike.\n"
    for file in image().file:
        for number, enum in enumerate(file.enum_type):
            if enum.name != "ErrorReason":
                continue
            found = [
                (f"`{value.name.removeprefix('ERROR_REASON_')}`", comment(file, ENUM_FIELD, number, VALUE_FIELD, index))
                for index, value in enumerate(enum.value)
                if value.number
            ]
            text += f"\n## {file.package}\n\n{table(('Reason', 'Meaning'), found)}"
    return text


def routes(method: descriptor_pb2.MethodDescriptorProto) -> Iterator[str]:
    """Yield the REST routes of a method."""
    rule = method.options.Extensions[annotations_pb2.http]
    for each in (rule, *rule.additional_bindings):
        pattern = each.WhichOneof("pattern")
        if pattern == "custom":
            yield f"{each.custom.kind} {each.custom.path}"
        elif pattern:
            yield f"{pattern.upper()} {getattr(each, pattern)}"


def methods() -> str:
    """List every RPC with its routes and the scope it needs."""
    text = "# Methods\n\nEvery RPC, its REST routes, and the scope that the caller's token must hold.\n"
    for file in image().file:
        for number, service in enumerate(file.service):
            if not file.package.startswith("rapport."):
                continue
            found = []
            for index, method in enumerate(service.method):
                access = method.options.Extensions[options_pb2.access]
                needed = "public" if access.public else f"`{access.scope}`"
                paths = "<br>".join(f"`{route}`" for route in routes(method))
                summary = comment(file, SERVICE_FIELD, number, METHOD_FIELD, index).split(". ")[0].rstrip(".")
                found.append((f"`{method.name}`", paths, needed, summary))
            text += f"\n## {file.package}.{service.name}\n\n{table(('RPC', 'REST', 'Scope', 'What it does'), found)}"
    return text


def commands(command: Any, path: str) -> Iterator[str]:
    """Yield the help text of a command and of all below it."""
    context = command.make_context(path, [], resilient_parsing=True, terminal_width=100)
    yield f"\n## {path}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{path} {name}")


def command_line() -> str:
    """Print the help of the `rapport` command and of everything below it."""
    app = import_module("cli.main").commands
    app.rich_markup_mode = None
    return "# The `rapport` command\n" + "".join(commands(typer.main.get_command(app), "rapport"))


def tenant_configuration() -> str:
    """List every feature and setting that a tenant can have."""
    declared = import_module("services.tenant.configuration")
    features = [
        (f"`{one.name}`", "on" if one.default else "off", one.meaning, one.used_by)
        for one in declared.FEATURES.values()
    ]
    settings = [
        (f"`{one.name}`", f"`{json.dumps(one.default)}`", f"{one.meaning} It is {one.expected}.", one.used_by)
        for one in declared.SETTINGS.values()
    ]
    return (
        "# Features and settings of a tenant\n\n"
        "Declared in `services/tenant/configuration.py`; an undeclared name is refused. A tenant stores only what it "
        "chose, so that a default may change for everybody who never chose; `rapport tenant update SLUG` changes it.\n"
        f"\n## Features\n\n{table(('Feature', 'Default', 'Meaning', 'Used by'), features)}"
        f"\n## Settings\n\n{table(('Setting', 'Default', 'Meaning', 'Used by'), settings)}"
    )


def metrics() -> str:
    """List every figure that the processes tell Prometheus."""
    listed = [
        (f"`{one.name}`", one.kind, ", ".join(f"`{label}`" for label in one.labels), one.told_by, one.meaning)
        for one in figures()
    ]
    return (
        "# Metrics\n\n"
        "A process serves them at `RAPPORT_…_METRICS_LISTEN`, Envoy its own at `RAPPORT_GATEWAY_EDGE_METRICS_LISTEN`; "
        "how they are used: [observability](../observability.md). A label has few values, which are all ours.\n\n"
        + table(("Figure", "Kind", "Labels", "Told by", "Meaning"), listed)
    )


PAGES = {
    "metrics.md": metrics,
    "tenant-configuration.md": tenant_configuration,
    "configuration.md": configuration,
    "errors.md": errors,
    "methods.md": methods,
    "command.md": command_line,
}


def write() -> None:
    """Make the reference pages."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(HEADER + page())


def pages() -> Iterator[Path]:
    """Yield every page that people read."""
    yield ROOT / "README.md"
    yield ROOT / "SECURITY.md"
    yield ROOT / "deploy" / "kubernetes" / "README.md"
    yield from sorted((ROOT / "docs").rglob("*.md"))
    yield from sorted(ROOT.glob("services/*/README.md"))
    yield from (ROOT / folder / "README.md" for folder in ("servicekit", "gateway", "cli", "bench", "deploy"))


def broken(page: Path) -> Iterator[str]:
    """Yield what a page names that is not there, and the code in it that does not run."""
    text = page.read_text()
    where = page.relative_to(ROOT)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target and not (page.parent / target).exists():
            yield f"{where}: no such file: {target}"
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for path in re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", prose):
        root = path.split("/")[0]
        if (ROOT / root).is_dir() and not (ROOT / path).exists():
            yield f"{where}: no such path: {path}"
    for path, test in re.findall(r"`(tests/[\w./-]+\.py)::(\w+)", prose):
        if not (ROOT / path).exists() or not re.search(
            rf"^\s*(?:async )?def {test}\(", (ROOT / path).read_text(), re.MULTILINE
        ):
            yield f"{where}: no such test: {path}::{test}"
    yield from (f"{where}: no such command: {words}" for words in unknown_commands(text))
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        try:
            exec(compile(block, str(where), "exec"), {"__name__": "__documentation__"})  # noqa: S102 - our own pages
        except Exception as error:  # noqa: BLE001 - whatever an example raises is reported
            yield f"{where}: an example raised {error!r}"


def unknown_commands(text: str) -> Iterator[str]:
    """Yield what a page calls as `rapport …` or `make …` and there is none of."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for target in re.findall(r"(?:`|^)make ([a-z]+)", text, flags=re.MULTILINE):
        if target not in targets:
            yield f"make {target}"
    root: Any = typer.main.get_command(import_module("cli.main").commands)
    for call in re.findall(r"(?:`|^)(?:\S*/)?rapport ([a-z][^`\n]*)", text, flags=re.MULTILINE):
        command, words = root, call.split()
        while words and getattr(command, "commands", None):
            command = command.commands.get(words.pop(0))
            if command is None:
                yield f"rapport {call}"
                break
        else:
            known = {option for parameter in command.params for option in parameter.opts} if command else set()
            yield from (f"rapport {call}: {word}" for word in words if word.startswith("--") and word not in known)


def check() -> str:
    """Return what is stale or broken, or the empty string."""
    found = [
        f"docs/reference/{name} is stale: run `make gen`"
        for name, page in PAGES.items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text() != HEADER + page()
    ]
    for page in pages():
        found.extend(broken(page))
    return "\n".join(found)


if __name__ == "__main__":
    write()
    sys.exit(0)
