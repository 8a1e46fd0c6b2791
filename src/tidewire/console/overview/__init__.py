"""The broker in one look."""
