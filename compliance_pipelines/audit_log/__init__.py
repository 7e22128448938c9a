"""The hot store: entries in PostgreSQL, from append to purge."""
