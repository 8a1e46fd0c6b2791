"""The web page of a broker. It knows the broker by `server.admin` alone."""
