"""The door of the relay: connections, calls, clock and metrics."""
