"""Run every benchmark, one after the other."""

from bench import inbox, webhook


def main() -> None:
    """Print each benchmark's table."""
    inbox.main()
    webhook.main()


if __name__ == "__main__":
    main()
