"""What a message costs, measured and this month."""
