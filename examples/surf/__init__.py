"""A surfing competition, watched live: boards that are sometimes connected, judges that lose nothing, a public page.

`python -m examples.surf --help` says how it is started, docs/surf.md why it is built like this.
"""
