"""Tensors become scores; nothing here knows audio formats or queues."""
