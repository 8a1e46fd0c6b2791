"""How fast Tidewire is, beside other brokers on the same machine and the same work: `python -m benchmarks`."""
