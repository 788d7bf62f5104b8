"""Small controllers that follow a running engine. Each is a pure step from what was measured to what comes next."""
