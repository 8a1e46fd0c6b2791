"""`tidewire completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM = "tidewire"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands, options and files in SHELL.

    Install it once, then open a new shell:

    \b
      tidewire completion bash > ~/.local/share/bash-completion/completions/tidewire
      tidewire completion zsh > "${fpath[1]}/_tidewire"
      tidewire completion fish > ~/.config/fish/completions/tidewire.fish

    \b
    Or for this shell only:
      source <(tidewire completion bash)
    """
    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(context.find_root().command, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE").source())
