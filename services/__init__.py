"""The services of the suite, one package each; they know one another by their contracts only."""
