"""Run every benchmark, one after the other."""

from bench import edge, inbox, queues, webhook


def main() -> None:
    """Print each benchmark's table."""
    inbox.main()
    webhook.main()
    edge.main()
    queues.main()


if __name__ == "__main__":
    main()
