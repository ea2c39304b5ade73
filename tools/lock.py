"""Resolve the dependencies into hashed lock files that hold no registry address."""

import subprocess
import sys

LOCKS = (
    ("requirements-bootstrap.in", "requirements-bootstrap.lock", ()),
    # What an image holds: a deployment may choose Vault and language models by settings alone.
    ("pyproject.toml", "requirements.lock", ("--extra", "llm", "--extra", "vault")),
    ("pyproject.toml", "requirements-dev.lock", ("--extra", "dev")),
)


def main() -> None:
    """Write the three lock files; universal, so that one file serves every platform and Python."""
    for source, lock, extras in LOCKS:
        command = [
            *("uv", "pip", "compile", source, "--output-file", lock, *extras),
            *("--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"),
            *("--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "make lock"),
        ]
        if subprocess.run(command, check=False).returncode:
            sys.exit(f"could not resolve {source}")


if __name__ == "__main__":
    main()
