"""The network as a graph of its own, for programs that run no Python or no PyTorch."""
