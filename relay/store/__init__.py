"""What is remembered: a narrow contract and the stores that keep it."""
