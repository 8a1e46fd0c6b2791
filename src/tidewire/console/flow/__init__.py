"""One client's packets, as they pass."""
