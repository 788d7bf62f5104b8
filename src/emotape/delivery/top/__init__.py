"""How a running server is doing, at a terminal."""
