"""Dagster concept: assets. What exists, from what it is made, and which domain call makes it.

Here: one module for each store (hot, cold, ledger); each asset takes a day, calls the domain once, and gives back
metadata. Not here: checks (checks.py), and any rule about days, which is the domain's.
"""
