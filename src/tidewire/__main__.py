"""`python -m tidewire` is `tidewire`."""

from tidewire.cli.main import main

main()
