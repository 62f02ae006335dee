"""PostgreSQL as the store: its connection, its schema by the month, and what it is told."""
