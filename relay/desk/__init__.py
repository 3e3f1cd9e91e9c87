"""The officer's desk: compose, seal, send, open, answer and keep."""
