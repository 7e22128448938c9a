"""Compliance storage for a LangGraph agent server: audit trail, archives, retention, erasure."""
