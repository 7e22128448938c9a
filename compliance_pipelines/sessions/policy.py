"""For how long a session or a memory may stay without being used, and whose stay regardless.

Here: the rules, and where they come from: the retention policy file, else the settings. Not here: holds (plan.py).

Read of the file, in mcp-server-langgraph's layout: `global.enabled`, `global.dry_run`;
`retention_periods.user_sessions.inactive`, days since the last use; `cleanup_actions.sessions.enabled` and
`.delete_inactive`; `exclusions.user_ids`. `retention_periods.user_sessions.active` is read and does nothing: what is
used expires by Redis' own time to live. Beyond that layout: `retention_periods.memories.inactive` and
`cleanup_actions.memories.enabled`. Without a period memories stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.conversations.policy_file import EXCLUSION_KEYS, open_policy_file

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.settings import Settings

# That of mcp-server-langgraph, where its file has none.
_DEFAULT_DAYS: Final = 90
_PERIOD_KEYS: Final = frozenset({"active", "inactive", "description"})
_MEMORY_KEYS: Final = frozenset({"inactive", "description"})


@dataclass(frozen=True)
class SessionPolicy:
    """Periods in days, and exemptions.

    Attributes:
        session_days: since its last use, after which a session goes; None: sessions stay.
        memory_days: since its last change, after which a memory goes; None: memories stay.
        exempt_users: users of whom everything stays.
        dry_run: plan and say what would go; remove nothing.
        source: where it comes from, in words.
    """

    session_days: int | None = _DEFAULT_DAYS
    memory_days: int | None = None
    exempt_users: frozenset[str] = frozenset()
    dry_run: bool = False
    source: str = "settings"

    @property
    def enabled(self) -> bool:
        """Whether anything can fall due."""
        return self.session_days is not None or self.memory_days is not None

    def as_record(self) -> dict[str, Any]:
        """What a record says of the policy: periods and numbers, no user."""
        return {
            "source": self.source,
            "session_days": self.session_days,
            "memory_days": self.memory_days,
            "exempt_users": len(self.exempt_users),
        }


def session_policy(settings: Settings) -> SessionPolicy:
    """The policy in force: the file's where RETENTION_POLICY_FILE names one, else the settings'.

    Exemptions of the settings hold in both cases.

    Raises:
        PolicyError: a rule cannot be used; the message names the file's line and key.
    """
    exempt_users = frozenset(settings.session_exempt_users)
    if settings.retention_policy_file is not None:
        return _policy_of_file(settings.retention_policy_file, exempt_users)
    return SessionPolicy(settings.session_retention_days, settings.memory_retention_days, exempt_users)


def anything_falls_due(settings: Settings) -> bool:
    """Whether the settings name a Redis, and the policy a period for what lies there.

    Raises:
        PolicyError: a rule cannot be used.
    """
    policy = session_policy(settings)
    sessions = (settings.gdpr_session_redis_url, settings.gdpr_playground_redis_url)
    memories = (settings.gdpr_store_redis_url, settings.checkpoint_redis_url)
    return (policy.session_days is not None and any(sessions)) or (policy.memory_days is not None and any(memories))


def _policy_of_file(path: Path, exempt_users: frozenset[str]) -> SessionPolicy:
    document = open_policy_file(path)
    periods, actions = document.section("retention_periods"), document.section("cleanup_actions")
    sessions, memories = periods.section("user_sessions"), periods.section("memories")
    sessions.refuse_unknown(_PERIOD_KEYS)
    memories.refuse_unknown(_MEMORY_KEYS)
    sessions.days("active")
    session_days, memory_days = sessions.days("inactive") or _DEFAULT_DAYS, memories.days("inactive")
    whole, of_sessions, of_memories = (
        document.section("global"),
        actions.section("sessions"),
        actions.section("memories"),
    )
    is_on = whole.truth("enabled", default=True)
    # Each is read, so that a misspelt one is an error wherever it stands.
    deletes_sessions = of_sessions.truth("enabled", default=True), of_sessions.truth("delete_inactive", default=True)
    deletes_memories = of_memories.truth("enabled", default=True)
    exclusions = document.section("exclusions")
    exclusions.refuse_unknown(EXCLUSION_KEYS)
    return SessionPolicy(
        session_days if is_on and all(deletes_sessions) else None,
        memory_days if is_on and deletes_memories else None,
        exempt_users | exclusions.texts("user_ids"),
        dry_run=whole.truth("dry_run", default=False),
        source=path.name,
    )
