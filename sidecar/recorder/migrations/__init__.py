"""How the tables came to be, one revision a file. Run by `journal.migration` and `postgres.migration`."""
