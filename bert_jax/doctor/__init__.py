"""What can be known before training begins: faults of hosts and of the corpus, each with its place."""
