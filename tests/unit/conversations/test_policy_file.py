"""mcp-server-langgraph's retention_policies.yaml: what is read, and how errors are named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.conversations.errors import PolicyError
from compliance_pipelines.conversations.policy_file import policy_from_settings, read_policy_file
from compliance_pipelines.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = """\
# Data Retention Policies
global:
  enabled: true
  timezone: "UTC"
  cleanup_schedule: "0 3 * * *"
  dry_run: false
retention_periods:
  user_sessions:
    active: 90
  conversations:
    active: 365
    archived: 90
    deleted: 7
    description: "User conversation history"
cleanup_actions:
  conversations:
    enabled: true
    soft_delete_first: true
exclusions:
  user_ids:
    - "user:admin"
    - "user:system"
  protected_types:
    - "legal_hold"
notifications:
  enabled: true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "retention_policies.yaml"


def test_the_layout_of_mcp_server_langgraph_is_read(file: Path) -> None:
    file.write_text(LAYOUT)
    policy = read_policy_file(file, exempt_users=frozenset({"user:9"}))
    assert (policy.idle_days, policy.archived_days, policy.deleted_days) == (365, 90, 7)
    assert policy.exempt_users == {"user:admin", "user:system", "user:9"}
    assert policy.protected_tags == {"legal_hold"}
    assert policy.enabled
    assert not policy.dry_run


def test_periods_of_users_prefixes_and_age_can_be_added(file: Path) -> None:
    file.write_text(
        "retention_periods:\n  conversations:\n    active: 60\n    max_age: 400\n    users: {'user:1': 30}\n"
        "    thread_prefixes:\n      'tmp:': 1\nexclusions:\n  thread_ids: [default]\n"
    )
    policy = read_policy_file(file)
    assert (policy.max_age_days, policy.user_days, policy.prefix_days) == (400, {"user:1": 30}, {"tmp:": 1})
    assert policy.exempt_threads == {"default"}


@pytest.mark.parametrize(
    ("before", "after", "enabled", "dry_run"),
    [
        ("dry_run: false", "dry_run: true", True, True),
        ("enabled: true\n  timezone", "enabled: false\n  timezone", False, False),
        ("enabled: true\n    soft", "enabled: false\n    soft", False, False),
        ("enabled: true\n    soft", "enabled: null\n    soft", True, False),
    ],
)
def test_switches_are_read(file: Path, before: str, after: str, enabled: bool, dry_run: bool) -> None:
    assert before in LAYOUT
    file.write_text(LAYOUT.replace(before, after))
    policy = read_policy_file(file)
    assert (policy.enabled, policy.dry_run) == (enabled, dry_run)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("active: 365", "active: soon", "line 11: retention_periods.conversations.active: a whole number"),
        ("active: 365", "active: 0", "line 11: retention_periods.conversations.active: a whole number"),
        ("active: 365", "active: 1.5", "line 11: retention_periods.conversations.active: a whole number"),
        ("active: 365", "active: '365'", "line 11: retention_periods.conversations.active: a whole number"),
        ("archived: 90", "archived: [90]", "line 12: retention_periods.conversations.archived: .*not a list"),
        ("archived: 90", "archved: 90", "line 12: retention_periods.conversations.archved: unknown key"),
        ("deleted: 7", "active: 7", "line 13: retention_periods.conversations.active: the key stands here twice"),
        ("dry_run: false", "dry_run: maybe", "line 6: global.dry_run: true or false is expected"),
        ('user_ids:\n    - "user:admin"\n    -', "user_ids:", "line 20: exclusions.user_ids: a list of texts"),
        ("user_ids:", "user_id:", "line 20: exclusions.user_id: unknown key"),
        ('- "user:admin"', "- {a: b}", "line 21: exclusions.user_ids: each item"),
        ("global:\n", "global: []\nx:\n", "line 2: global: a mapping of keys"),
        ("deleted: 7", "users: {'user:1': 500}", "line 11: retention_periods.conversations: .*exempt user 'user:1'"),
        ("deleted: 7", "deleted: 7: 8", "line 13: no YAML"),
    ],
)
def test_an_error_names_line_and_key(file: Path, before: str, after: str, message: str) -> None:
    assert before in LAYOUT
    file.write_text(LAYOUT.replace(before, after))
    with pytest.raises(PolicyError, match=rf"retention_policies\.yaml {message}"):
        read_policy_file(file)


def test_a_file_that_cannot_be_read_is_an_error_and_no_default(file: Path) -> None:
    """Falling back to a default would delete by rules that nobody gave."""
    with pytest.raises(PolicyError, match="cannot be read"):
        read_policy_file(file)
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(PolicyError, match=r"UTF-8|YAML"):
        read_policy_file(file)
    file.write_text("")
    with pytest.raises(PolicyError, match="empty"):
        read_policy_file(file)


def settings(**values: object) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]


def test_the_file_replaces_the_periods_of_the_settings_and_adds_to_their_exemptions(file: Path) -> None:
    file.write_text(LAYOUT)
    policy = policy_from_settings(
        settings(retention_policy_file=file, conversation_retention_days=10, conversation_exempt_users=("user:9",))
    )
    assert policy.idle_days == 365
    assert "user:9" in policy.exempt_users


def test_without_a_file_the_settings_rule() -> None:
    policy = policy_from_settings(
        settings(
            conversation_retention_days=40,
            conversation_max_age_days=100,
            conversation_user_days={"user:1": 3},
            conversation_prefix_days={"tmp:": 2},
            conversation_exempt_threads=("default",),
        )
    )
    assert (policy.idle_days, policy.max_age_days) == (40, 100)
    assert (policy.user_days, policy.prefix_days) == ({"user:1": 3}, {"tmp:": 2})
    assert policy.exempt_threads == {"default"}


def test_environment_names_of_all_origins_work(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    for name in ("RETENTION_POLICY_FILE", "RETENTION_CONFIG_PATH", "DATA_RETENTION_CONFIG"):
        with monkeypatch.context() as environment:
            environment.setenv(name, str(file))
            assert settings().retention_policy_file == file
    for name in ("CONVERSATION_RETENTION_DAYS", "RETENTION_DAYS"):
        with monkeypatch.context() as environment:
            environment.setenv(name, "33")
            assert settings().conversation_retention_days == 33
    monkeypatch.setenv("CONVERSATION_USER_DAYS", '{"user:1": 5}')
    monkeypatch.setenv("CONVERSATION_EXEMPT_USERS", '["user:2"]')
    assert settings().conversation_user_days == {"user:1": 5}
    assert settings().conversation_exempt_users == ("user:2",)
