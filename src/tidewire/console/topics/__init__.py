"""Every topic and what it says."""
