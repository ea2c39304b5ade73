"""The command on a deployment that it did not start: it is told by the environment where the services are."""

import json
from pathlib import Path

from tests.support.suite import rapport
from tests.support.world import SuiteUnderTest


def test_the_command_works_on_services_that_the_environment_names(suite: SuiteUnderTest, tmp_path: Path) -> None:
    """No data folder is needed; the key comes from a file."""
    described = rapport("status", "--json", "--data", suite.data).value
    running = json.loads((Path(suite.data) / "run" / "suite.json").read_text(encoding="utf-8"))
    assert described
    services = {name: f"ipv4:{found[0]}" for name, found in running["addresses"].items()}
    key = tmp_path / "key"
    key.write_text((Path(suite.data) / "secrets" / "operator-key").read_text(encoding="utf-8"), encoding="utf-8")
    told = {
        "RAPPORT_OPERATOR_SERVICES": json.dumps(services | {"gateway": running["control_plane"]}),
        "RAPPORT_OPERATOR_KEY_FILE": str(key),
    }
    listed = rapport("tenant", "list", "--json", "--data", str(tmp_path / "none"), told=told)
    assert listed.code == 0, listed.messages
    assert "tenants" in listed.value
    assert rapport("gateway", "status", "--json", "--data", str(tmp_path / "none"), told=told).code == 0
    examined = rapport("doctor", "--json", "--all", "--data", str(tmp_path / "none"), told=told)
    places = {one["where"].partition("-")[0] for one in examined.value["findings"]}
    assert {"tenant", "crm", "tickets", "recommendations", "gateway"} <= places
    left_out = [one for one in examined.value["findings"] if one["check"] == "not_examined"]
    assert [one["state"] for one in left_out] == ["yellow"], "what was not looked at must not pass for green"
    assert not (tmp_path / "none").exists()
    told["RAPPORT_OPERATOR_SERVICES"] = json.dumps({name: at for name, at in services.items() if name != "crm"})
    examined = rapport("doctor", "--json", "--data", str(tmp_path / "none"), told=told)
    red = {one["where"] for one in examined.value["findings"] if one["state"] == "red" and one["check"] == "process"}
    assert examined.code == 1
    assert {"crm", "gateway"} <= red, "whom the environment does not name nobody looks at"


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    """The message says which setting it is."""
    told = {"RAPPORT_OPERATOR_SERVICES": '{"tenant": "ipv4:127.0.0.1:1"}'}
    assert "RAPPORT_OPERATOR_KEY_FILE" in rapport("tenant", "list", told=told).messages
    told["RAPPORT_OPERATOR_KEY_FILE"] = str(tmp_path / "nothing")
    assert "No such file" in rapport("tenant", "list", told=told).messages
