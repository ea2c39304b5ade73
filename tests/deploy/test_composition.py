"""The files of deployments elsewhere: they set what exists, and every process proves itself to the others."""

import pytest
import yaml
from pydantic_settings import BaseSettings

from cli.elsewhere import OperatorSettings
from cli.suite.certificates import IDENTITIES
from gateway.settings import GatewaySettings
from servicekit.probe import ProbeSettings
from services.crm.settings import CrmSettings
from services.recommendations.settings import RecommendationsSettings
from services.tenant.settings import TenantSettings
from services.tickets.settings import TicketsSettings
from tests.support.deployments import ROOT, composition, kubernetes, pods, settings_of
from tools import deployment

SETTINGS: tuple[type[BaseSettings], ...] = (
    CrmSettings,
    GatewaySettings,
    OperatorSettings,
    ProbeSettings,
    RecommendationsSettings,
    TenantSettings,
    TicketsSettings,
)
KNOWN = {
    f"{settings.model_config.get('env_prefix')}{name}".upper()
    for settings in SETTINGS
    for name in settings.model_fields
}
TLS = {"TLS_CERTIFICATE_FILE": "/tls/tls.crt", "TLS_KEY_FILE": "/tls/tls.key", "TLS_CA_FILE": "/tls/ca.crt"}


def processes() -> dict[str, tuple[dict[str, str], list[str]]]:
    """Return each container's settings and mounts, by a name that says where it stands."""
    found: dict[str, tuple[dict[str, str], list[str]]] = {
        f"compose {name}": (service["environment"], service.get("volumes", []))
        for name, service in composition().items()
        if any(key.startswith("RAPPORT_") for key in service.get("environment", {}))
    }
    for name, pod in pods().items():
        (container,) = pod["containers"]
        if any(key.startswith("RAPPORT_") for key in settings_of(container)):
            mounts = [f"{mount['name']}:{mount['mountPath']}:ro" for mount in container["volumeMounts"]]
            found[f"kubernetes {name}"] = (settings_of(container), mounts)
    return found


def test_the_composition_is_valid_by_the_schema_of_its_specification() -> None:
    """A misspelt field is refused; `make check` reads the file by a parser as well."""
    whole = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    assert deployment.composition_faults(whole) == []
    whole["services"]["tickets"]["healthchek"] = {}
    assert "healthchek" in deployment.composition_faults(whole)[0]


def test_what_watches_is_started_only_when_it_is_asked_for() -> None:
    """The profile `observe`; its files are there."""
    services = composition()
    watching = {name for name, service in services.items() if service.get("profiles") == ["observe"]}
    assert watching == {"otel-collector", "prometheus", "alertmanager", "grafana"}
    for name in watching:
        for volume in services[name].get("volumes", []):
            # Addresses of people to alert are secrets, which an operator writes.
            if volume.startswith("./") and not volume.startswith("./deploy/secrets/"):
                assert (ROOT / volume.split(":")[0]).exists(), volume


def test_no_container_may_do_more_than_it_must() -> None:
    """Ours and those that watch: nothing is written but to volumes, and no privilege is left to be had."""
    for name, service in composition().items():
        if name not in {"postgres", "valkey"}:
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
            assert "no-new-privileges:true" in service["security_opt"], name


@pytest.mark.parametrize("name", processes())
def test_every_setting_that_a_file_names_exists(name: str) -> None:
    """A misspelt setting would be ignored without a word."""
    environment, _ = processes()[name]
    assert {key for key in environment if key.startswith("RAPPORT_")} <= KNOWN


@pytest.mark.parametrize("name", processes())
def test_every_process_proves_itself_to_the_others(name: str) -> None:
    """Its own three files, mounted for it alone, and its health probe shows the same ones."""
    environment, mounts = processes()[name]
    who = "gateway" if name.split()[1] in {"envoy", "control-plane"} else name.split()[1]
    prefixes = [f"RAPPORT_{who.upper()}_"] + ["RAPPORT_PROBE_"] * ("RAPPORT_PROBE_TARGET" in environment)
    for prefix in prefixes:
        assert {key: environment.get(prefix + key) for key in TLS} == TLS
    assert [mount for mount in mounts if mount.endswith(":/tls:ro")] in ([f"tls-{who}:/tls:ro"], ["tls:/tls:ro"])


def test_the_issuer_of_the_composition_writes_everybodys_files_and_nobody_else_can() -> None:
    """A volume for each identity; all other mounts of it are read-only."""
    volumes = set(composition()["certificates"]["volumes"])
    assert volumes == {f"tls-{name}:/certificates/{name}" for name in IDENTITIES} | {
        "authority:/certificates/authority"
    }


def test_the_cluster_issues_what_the_processes_expect() -> None:
    """The names by which peers know each other, and keys that change with the certificate."""
    certificates = {
        thing["metadata"]["name"]: thing["spec"] for thing in kubernetes("Certificate") if not thing["spec"].get("isCA")
    }
    assert set(certificates) == {f"rapport-tls-{name}" for name in IDENTITIES}
    for name in IDENTITIES:
        spec = certificates[f"rapport-tls-{name}"]
        assert (spec["uris"], spec["dnsNames"]) == ([f"spiffe://rapport/{name}"], [name])
        assert {"server auth", "client auth"} <= set(spec["usages"])
        assert spec["privateKey"]["rotationPolicy"] == "Always"
