"""Mutated files against everything that parses one: seeded, so that what fails can be repeated."""
