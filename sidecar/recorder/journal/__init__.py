"""The journal: one SQLite file, in which a record is durable before its response has ended."""
