"""PostgreSQL and Redis from Python wheels, for development, demo and tests; never for production.

Here: starting, finding again and stopping these servers, and the environment that points the project at them. Not
here: anything that the project does with a database. The servers come with the extra `local`.
"""
