"""What the machine can be expected to do: costs from the arithmetic there is, and the hardware that a use needs."""
