"""Laws of the recipe; `pytest training` runs them."""
