"""The peers: what a good team would have built instead, doing the same work on the same database server."""
