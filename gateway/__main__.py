"""Run the gateway: `serve` is the control plane, `envoy` is Envoy, `bootstrap` prints what Envoy is started with.

`together` is both in one container; `drain` lets a running Envoy finish what it is answering, before it is stopped.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from gateway import peers, together
from gateway.addresses import HostPort
from gateway.bootstrap import bootstrap, command
from gateway.draining import drain
from gateway.settings import GatewaySettings
from servicekit import logs


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    parser.add_argument("command", choices=["serve", "envoy", "together", "bootstrap", "drain"])
    parser.add_argument("envoy_arguments", nargs="*", help="further arguments for Envoy, after --")
    chosen = parser.parse_args(arguments)
    try:
        settings = GatewaySettings()
    except ValidationError as error:
        sys.exit(f"the settings RAPPORT_GATEWAY_* are wrong: {error}")
    if chosen.command == "envoy":
        run_envoy(settings, chosen.envoy_arguments)
    elif chosen.command == "bootstrap":
        print(bootstrap_text(settings))  # noqa: T201 - this is what the command is for
    elif chosen.command == "drain":
        drain(settings.admin())
    elif chosen.command == "together":
        sys.exit(together.run(settings.admin()))
    else:
        # What builds Envoy's configuration takes a second to import, which the other commands need not wait for.
        from gateway.serve import serve

        logs.configure(settings.log_level)
        asyncio.run(serve(settings))


def run_envoy(settings: GatewaySettings, arguments: Sequence[str]) -> None:
    """Write the bootstrap and become Envoy."""
    config = settings.make_data_dir() / "envoy.json"
    config.write_text(bootstrap_text(settings), encoding="utf-8")
    words = [*command(config, settings.envoy_concurrency), *arguments]
    os.environ.update(settings.envoy_environment())
    os.execv(words[0], words)  # noqa: S606 - our own binary, without a shell


def bootstrap_text(settings: GatewaySettings) -> str:
    """Return the bootstrap configuration as JSON text; with TLS the file that it refers to is written as well."""
    ads = HostPort.parse(settings.ads_target or settings.ads_listen)
    files, secrets = settings.peer_files(), peers.secrets_folder(settings.make_data_dir())
    if files is not None:
        peers.write_secrets(secrets, files)
    config = bootstrap(
        settings.node_id,
        ads,
        settings.admin(),
        delta=settings.ads_protocol == "delta",
        secrets=secrets if files else None,
        figures=HostPort.parse(settings.edge_metrics_listen) if settings.edge_metrics_listen else None,
    )
    return json.dumps(config, indent=2)


if __name__ == "__main__":
    main()
