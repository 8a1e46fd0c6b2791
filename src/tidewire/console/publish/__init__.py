"""Messages, and what becomes of them."""
