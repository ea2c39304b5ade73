"""Work on models of text, done by the tickets service's own code in a process of its own."""

import json
import subprocess
from typing import Any

from cli.errors import CommandError
from cli.suite.plans import module_command


def offline(*arguments: str) -> dict[str, Any]:
    """Return what `python -m services.tickets.language` answers; it takes as long as it takes.

    Raises:
        CommandError: a file or an option is wrong, or the process ended without an answer.
    """
    done = subprocess.run(module_command("services.tickets.language", *arguments), stdout=subprocess.PIPE, check=False)
    try:
        told = json.loads(done.stdout)
    except ValueError as error:
        raise CommandError("The code that measures models did not answer.", reason="INTERNAL") from error
    if "error" in told:
        raise CommandError(str(told["error"]), reason="USAGE")
    return dict(told)
