"""The client side of every measurement, in one thread, over raw sockets. Compiled, so that it outruns the broker."""
