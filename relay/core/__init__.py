"""What is right: the rules of a message, decided without clock, dice or disk."""
