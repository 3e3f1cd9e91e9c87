"""What desks say to each other: typed documents, their code lists and their rules."""
