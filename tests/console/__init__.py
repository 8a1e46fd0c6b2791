"""The console: pages looked at in a real browser, and the parts of them that need none."""
