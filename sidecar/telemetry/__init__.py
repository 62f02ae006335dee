"""Records, seen as traces."""
