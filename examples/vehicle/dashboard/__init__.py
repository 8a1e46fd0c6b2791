"""The control room: a page on which people watch the vehicles and command them, in Python from the socket on."""
