"""Retained messages, and where they come from."""
