"""A model of one's own labels: a head on the network's embeddings, and the network tuned to it where that is asked."""
