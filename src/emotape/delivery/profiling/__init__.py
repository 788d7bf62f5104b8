"""Where the time of an answer goes on this machine: every stage measured by running it, one after another."""
