"""What outlives a request: the models on this machine, and how they come here from a hub."""
