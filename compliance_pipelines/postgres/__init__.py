"""What every use of PostgreSQL shares, below the domains.

Here: sending rows. Not here: any table of a domain.
"""
