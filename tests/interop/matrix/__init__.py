"""Does every client that people have work with the broker, over every transport, in every version? `make interop`."""
