"""What a deployment elsewhere needs of this command: its secrets, as docker-compose.yml and a cluster read them."""

import os
from json import dumps
from pathlib import Path
from secrets import token_urlsafe
from typing import Annotated

import typer

from cli.options import Data, Json
from cli.output import print_json, print_lines, say
from cli.suite.names import DATABASE, SERVICES
from cli.suite.secret_files import KEY_ENCRYPTION_KEYS, SuiteSecrets, suite_secrets, write_private

CONTAINER_ACCOUNT = 10001
"""The user as whom the image's processes run (deploy/Dockerfile); it must be able to read the secrets."""

commands = typer.Typer(help="Prepare a deployment that runs elsewhere.", no_args_is_help=True)


@commands.callback()
def deployment() -> None:
    """Prepare a deployment that runs elsewhere."""


@commands.command("secrets")
def make_secrets(
    folder: Annotated[Path, typer.Argument(help="The folder for the secrets; what is there already is kept.")] = Path(
        "deploy/secrets"
    ),
    server: Annotated[str, typer.Option(help="Postgres, as the containers reach it (host:port).")] = "postgres:5432",
    data: Data = None,
    json: Json = False,
) -> None:
    """Make passwords and keys, and the environment files that hand them to the processes."""
    del data  # a deployment elsewhere has no suite's folder; the option is there because every command has it
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = suite_secrets(folder)
    for name, values in environments(made, server).items():
        write_private(folder / f"{name}.env", "".join(f"{key}={value}\n" for key, value in values.items()))
    write_private(folder / "postgres_password", made.postgres["postgres"])
    if not (folder / "grafana_password").exists():
        write_private(folder / "grafana_password", token_urlsafe(32))
    write_private(folder / "kubernetes.yaml", kubernetes_secrets(made, server))
    if os.geteuid() == 0:
        # Folders in it are an operator's, who gave them to whom they are for.
        for path in filter(Path.is_file, folder.iterdir()):
            os.chown(path, CONTAINER_ACCOUNT, CONTAINER_ACCOUNT)
    else:
        say(f"The containers run as another user; let it read the files: chown -R {CONTAINER_ACCOUNT} {folder}")
    if json:
        print_json({"folder": str(folder), "files": sorted(path.name for path in folder.iterdir())})
    else:
        print_lines(f"The secrets are in {folder}; keep a copy of them apart from the database's backups.")


def environments(made: SuiteSecrets, server: str) -> dict[str, dict[str, str]]:
    """Return each process's secret settings, by the name of its environment file."""

    def url(role: str, database: str = DATABASE) -> str:
        return f"postgresql://{role}:{made.postgres[role]}@{server}/{database}"

    files = {
        "prepare": {
            "RAPPORT_PREPARE_SERVER_URL": url("postgres", "postgres"),
            "RAPPORT_PREPARE_DATABASE_URL": url("postgres"),
            "RAPPORT_PREPARE_PASSWORDS": dumps(made.postgres, separators=(",", ":")),
        }
    }
    for service in SERVICES:
        prefix = f"RAPPORT_{service.upper()}"
        files["prepare"][f"{prefix}_MIGRATION_URL"] = url(f"{service}_owner")
        files[service] = {f"{prefix}_DATABASE_URL": url(f"{service}_app")}
    for workload, path in made.workload_files.items():
        secret = path.read_text(encoding="utf-8")
        files.setdefault(workload, {})[f"RAPPORT_{workload.upper()}_WORKLOAD_SECRET"] = secret
    return files


def kubernetes_secrets(made: SuiteSecrets, server: str) -> str:
    """Return the secrets as objects of a cluster, by the names under which deploy/kubernetes refers to them (YAML)."""
    import yaml

    contents = environments(made, server)
    contents["keys"] = {KEY_ENCRYPTION_KEYS: made.key_encryption_file.read_text(encoding="utf-8")}
    contents["operator"] = {
        "operator-key": made.operator_key,
        "workloads.json": made.workloads_file.read_text(encoding="utf-8"),
    }
    contents["postgres"] = {"postgres_password": made.postgres["postgres"]}
    labels = {"app.kubernetes.io/part-of": "rapport"}
    return yaml.safe_dump_all(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"rapport-{name}", "namespace": "rapport", "labels": dict(labels)},
            "stringData": values,
        }
        for name, values in contents.items()
    )
