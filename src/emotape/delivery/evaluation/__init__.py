"""How well a model does on labelled recordings."""
