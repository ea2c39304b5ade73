"""Run every benchmark, one after the other."""

from bench import edge, inbox, ordering, queues, recommendations, webhook


def main() -> None:
    """Print each benchmark's table."""
    inbox.main()
    webhook.main()
    edge.main()
    queues.main()
    ordering.main()
    recommendations.main()


if __name__ == "__main__":
    main()
