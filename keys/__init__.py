"""The strong-room: who is who. It opens no socket, and only its command line reads a clock."""
