"""What every package stands on: the clock, the one error to catch, hashing, streaming, interruption, text.

Here: what knows nothing of this project, so that it imports nothing of it. Not here: settings, and whatever speaks to a
server.
"""
