"""The client: asyncio over the engine's client session: `tidewire.Client`, and `tidewire.sync.Client`, which blocks."""
