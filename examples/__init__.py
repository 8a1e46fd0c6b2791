"""Whole solutions on Tidewire's public API, each a small application of its own."""
