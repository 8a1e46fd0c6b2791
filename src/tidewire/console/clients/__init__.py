"""Who is there, and what is kept for them."""
