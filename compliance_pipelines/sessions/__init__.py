"""Retention of what Redis keeps of people beside conversations: idle sessions, and memories past their time.

Read :mod:`.policy` for what is due, :mod:`.survey` for what is looked at, :mod:`.removal` for how a key goes, and
:mod:`.purge` for plan, deletion and record.
"""
