"""What travels: bytes to values and back. Pure."""
