"""The period of sessions and memories, from the policy file or the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.conversations.errors import PolicyError
from compliance_pipelines.sessions.policy import SessionPolicy, session_policy
from compliance_pipelines.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "retention_policies.yaml"


def policy_of(file: Path, text: str, **settings: object) -> SessionPolicy:
    file.write_text(text)
    return session_policy(Settings(_env_file=None, retention_policy_file=file, **settings))  # type: ignore[arg-type]


def test_the_settings_give_the_period_where_there_is_no_file() -> None:
    settings = Settings(_env_file=None, session_retention_days=30, session_exempt_users=("user:admin",))
    assert session_policy(settings) == SessionPolicy(30, None, frozenset({"user:admin"}))
    assert session_policy(Settings(_env_file=None)) == SessionPolicy(90, None)


def test_the_layout_of_mcp_server_langgraph_is_read(file: Path) -> None:
    policy = policy_of(
        file,
        """
global: {enabled: true, dry_run: false}
retention_periods:
  user_sessions: {active: 90, inactive: 45, description: "User authentication sessions"}
  conversations: {active: 365}
cleanup_actions:
  sessions: {enabled: true, delete_inactive: true, notify_before_deletion: false}
exclusions:
  user_ids: ["user:admin"]
""",
        session_retention_days=7,
        session_exempt_users=("user:9",),
    )
    assert policy == SessionPolicy(45, None, frozenset({"user:admin", "user:9"}), source="retention_policies.yaml")


def test_a_file_without_a_period_means_that_of_the_server(file: Path) -> None:
    assert policy_of(file, "global: {enabled: true}\n", session_retention_days=7).session_days == 90


def test_memories_fall_due_only_where_a_period_is_given(file: Path) -> None:
    assert policy_of(file, "retention_periods: {memories: {inactive: 365}}\n").memory_days == 365
    assert policy_of(file, "retention_periods: {}\n", memory_retention_days=7).memory_days is None


@pytest.mark.parametrize(
    ("text", "sessions", "memories"),
    [
        ("global: {enabled: false}", None, None),
        ("cleanup_actions: {sessions: {enabled: false}}", None, 365),
        ("cleanup_actions: {sessions: {delete_inactive: false}}", None, 365),
        ("cleanup_actions: {memories: {enabled: false}}", 90, None),
        ("cleanup_actions: {conversations: {enabled: false}}", 90, 365),
    ],
)
def test_what_is_switched_off_does_not_fall_due(
    file: Path, text: str, sessions: int | None, memories: int | None
) -> None:
    policy = policy_of(file, f"{text}\nretention_periods: {{memories: {{inactive: 365}}}}\n")
    assert (policy.session_days, policy.memory_days) == (sessions, memories)
    assert policy.enabled == bool(sessions or memories)


def test_a_dry_run_is_one(file: Path) -> None:
    assert policy_of(file, "global: {dry_run: true}\n").dry_run


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("retention_periods:\n  user_sessions: {inactiv: 3}", "retention_periods.user_sessions.inactiv"),
        ("retention_periods:\n  user_sessions: {inactive: 0}", "retention_periods.user_sessions.inactive"),
        ("retention_periods:\n  user_sessions: {inactive: soon}", "retention_periods.user_sessions.inactive"),
        ("retention_periods:\n  user_sessions: {active: -1}", "retention_periods.user_sessions.active"),
        ("retention_periods:\n  memories: {active: 1}", "retention_periods.memories.active"),
        ("exclusions:\n  users: []", "exclusions.users"),
        ("cleanup_actions:\n  sessions: {delete_inactive: 3}", "cleanup_actions.sessions.delete_inactive"),
    ],
)
def test_a_rule_that_cannot_be_used_is_named_with_its_line(file: Path, text: str, key: str) -> None:
    with pytest.raises(PolicyError, match=rf"line 2: {key}: "):
        policy_of(file, text)
