"""What the engine alone takes for a message: builds of it side by side, without sockets."""
