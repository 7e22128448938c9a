"""LangGraph conversations in Redis: what lies there, what retention removes of it, and the record of that.

Read :mod:`.keys` for the key layout, :mod:`.survey` for how keys become threads, :mod:`.policy` for what is due, and
:mod:`.purge` for plan, deletion and record.
"""
