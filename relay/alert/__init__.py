"""Who is woken: pages leave the outbox through channels, with fixed text and nothing else."""
