"""One idea each, in one file to be read in a few minutes and copied: `python examples/small/home.py --url mqtt://host`.

They need nothing of each other, and any MQTT 5.0 broker will do. What they have in common: Ctrl-C ends them, a wrong
message from somebody else is told and left, and what cannot work is one line.
"""
