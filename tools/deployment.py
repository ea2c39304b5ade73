"""Checks deploy/kubernetes by the schemas of the cluster's own interface, and docker-compose.yml by its own schema.

The schemas come with the packages kubernetes-validate and check-jsonschema.
"""

import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry, Resource

ROOT = Path(__file__).resolve().parent.parent
KUBERNETES = ROOT / "deploy" / "kubernetes"
LIST = "kustomization.yaml"

VERSIONS = ("1.31.0", "1.37.0")
"""The oldest and the newest version of the cluster's interface that the files are for."""

FOREIGN = ("cert-manager.io/",)
"""Interfaces that are not the cluster's own; their objects have no schema there."""


def check() -> str:
    """Return what is wrong with the files, one fault a line; empty when nothing is."""
    faults = composition_faults(yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8")))
    listed = yaml.safe_load((KUBERNETES / LIST).read_text("utf-8"))["resources"]
    present = sorted(file.name for file in KUBERNETES.glob("*.yaml") if file.name != LIST)
    if sorted(listed) != present:
        faults.append(f"{LIST} lists {sorted(listed)}, and there are {present}")
    for version in VERSIONS:
        faults += object_faults(objects(), version)
    return "\n".join(faults)


def objects() -> list[dict[str, Any]]:
    """Return every object of deploy/kubernetes."""
    texts = [file.read_text("utf-8") for file in sorted(KUBERNETES.glob("*.yaml")) if file.name != LIST]
    return [thing for text in texts for thing in yaml.safe_load_all(text)]


def composition_faults(composition: Any) -> list[str]:
    """Return where a composition breaks the schema of the Compose specification."""
    schema = _json(_package("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json")
    return [f"docker-compose.yml: {fault.json_path}: {fault.message}" for fault in _faults(schema, composition)]


def object_faults(things: Iterable[dict[str, Any]], version: str) -> list[str]:
    """Return where objects break the schemas of a version of the cluster's interface; unknown fields are faults."""
    found = []
    folder = _package("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}-local-strict"
    for thing in things:
        interface = str(thing["apiVersion"])
        if interface.startswith(FOREIGN):
            continue
        # The group without its domain: networking.k8s.io/v1 is networking-v1.
        group, _, number = interface.rpartition("/")
        name = "-".join(part for part in (thing["kind"].lower(), group.partition(".")[0], number) if part)
        where = f"{thing['kind']} {thing['metadata']['name']} ({version})"
        schema = folder / f"{name}.json"
        if not schema.is_file():
            found.append(f"{where}: there is no {interface} {thing['kind']}")
            continue
        faults = _faults(_json(schema), thing, _definitions(folder))
        found += [f"{where}: {fault.json_path}: {fault.message}" for fault in faults]
    return found


def _package(name: str) -> Path:
    return Path(str(files(name)))


def _faults(schema: Any, value: Any, registry: Registry[Any] | None = None) -> list[ValidationError]:
    return list(Draft202012Validator(schema, registry=registry or Registry()).iter_errors(value))


@cache
def _definitions(folder: Path) -> Registry[Any]:
    return Resource.from_contents(_json(folder / "_definitions.json")) @ Registry()


@cache
def _json(file: Path) -> Any:
    return json.loads(file.read_text("utf-8"))
