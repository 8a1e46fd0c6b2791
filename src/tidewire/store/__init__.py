"""Where sessions and messages outlive the process; implements `engine.ports.Store`."""
