"""What each contestant runs: the same workflows in its own terms, its worker, and its client under load."""
