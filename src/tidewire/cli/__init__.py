"""The `tidewire` command: one file per subcommand."""
