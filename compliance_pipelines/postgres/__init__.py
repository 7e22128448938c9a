"""PostgreSQL as everything here uses it: the engine, what a session relies on, locks, errors, the tables, sending rows.

Here: what every domain shares. Not here: any statement of a domain; each keeps its own in one module.
"""
