"""The recipe of the bundled model: from raw audio of the corpora to a model directory."""
