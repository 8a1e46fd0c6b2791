"""Where listeners are opened, configuration is read, and the broker is started and stopped."""
