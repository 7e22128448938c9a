"""`retention_policies.yaml` of mcp-server-langgraph, as far as it concerns conversations, and the settings' policy.

Here: reading the file, with errors that name line and key, and choosing between file and settings. Not here: what the
rules mean (policy.py).

Read: `global.enabled`, `global.dry_run`; `retention_periods.conversations.active|archived|deleted`;
`cleanup_actions.conversations.enabled`; `exclusions.user_ids`, `exclusions.protected_types` (tags of a conversation's
note). Beyond that layout: `retention_periods.conversations.max_age`, `.users` and `.thread_prefixes` (each a mapping to
days), `exclusions.thread_ids`. Everything else in the file is not for this module (what concerns sessions is read by
sessions/policy.py) and is left alone, except inside `retention_periods.conversations` and `exclusions`, where an
unknown key is an error: it is most likely a misspelt rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import yaml

from compliance_pipelines.conversations.errors import PolicyError
from compliance_pipelines.conversations.policy import RetentionPolicy

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.settings import Settings

_DEFAULT_DAYS: Final = 90
_CONVERSATION_KEYS: Final = frozenset(
    {"active", "archived", "deleted", "max_age", "users", "thread_prefixes", "description"}
)
EXCLUSION_KEYS: Final = frozenset({"user_ids", "thread_ids", "protected_types"})
_LONGEST_DAYS: Final = 36_500


def policy_from_settings(settings: Settings) -> RetentionPolicy:
    """The policy in force: the file's where RETENTION_POLICY_FILE names one, else the settings'.

    Exemptions of the settings hold in both cases.

    Raises:
        PolicyError: a rule cannot be used.
    """
    exempt_users = frozenset(settings.conversation_exempt_users)
    exempt_threads = frozenset(settings.conversation_exempt_threads)
    if settings.retention_policy_file is not None:
        return read_policy_file(
            settings.retention_policy_file, exempt_users=exempt_users, exempt_threads=exempt_threads
        )
    return RetentionPolicy(
        idle_days=settings.conversation_retention_days,
        max_age_days=settings.conversation_max_age_days,
        user_days=settings.conversation_user_days,
        prefix_days=settings.conversation_prefix_days,
        exempt_users=exempt_users,
        exempt_threads=exempt_threads,
    )


def read_policy_file(
    path: Path, *, exempt_users: frozenset[str] = frozenset(), exempt_threads: frozenset[str] = frozenset()
) -> RetentionPolicy:
    """The policy that a file in mcp-server-langgraph's layout gives.

    Args:
        path: the file.
        exempt_users: exempt besides those of the file.
        exempt_threads: exempt besides those of the file.

    Raises:
        PolicyError: the file cannot be read, or a key has a value that cannot be used; the message names line and key.
    """
    return _policy(open_policy_file(path), exempt_users, exempt_threads)


def open_policy_file(path: Path) -> PolicySection:
    """The whole document of a file in mcp-server-langgraph's layout.

    Raises:
        PolicyError: the file cannot be read, or is no YAML with a mapping.
    """
    try:
        with path.open(encoding="utf-8") as file:
            root = yaml.compose(file, Loader=yaml.SafeLoader)
    except OSError as error:
        raise PolicyError(f"RETENTION_POLICY_FILE {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"RETENTION_POLICY_FILE {path} is no UTF-8 text: {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}" if mark is not None else ""
        raise PolicyError(f"{path}{where}: no YAML: {error.problem or error}") from error
    except yaml.YAMLError as error:
        raise PolicyError(f"{path}: no YAML: {error}") from error
    if root is None:
        raise PolicyError(f"{path}: the file is empty; give at least retention_periods.conversations.active")
    return PolicySection(path, (), root)


def _policy(document: PolicySection, exempt_users: frozenset[str], exempt_threads: frozenset[str]) -> RetentionPolicy:
    whole = document.section("global")
    conversations = document.section("retention_periods").section("conversations")
    conversations.refuse_unknown(_CONVERSATION_KEYS)
    actions = document.section("cleanup_actions").section("conversations")
    exclusions = document.section("exclusions")
    exclusions.refuse_unknown(EXCLUSION_KEYS)
    try:
        return RetentionPolicy(
            idle_days=conversations.days("active") or _DEFAULT_DAYS,
            archived_days=conversations.days("archived"),
            deleted_days=conversations.days("deleted"),
            max_age_days=conversations.days("max_age"),
            user_days=conversations.section("users").all_days(),
            prefix_days=conversations.section("thread_prefixes").all_days(),
            exempt_users=exempt_users | exclusions.texts("user_ids"),
            exempt_threads=exempt_threads | exclusions.texts("thread_ids"),
            protected_tags=exclusions.texts("protected_types"),
            enabled=whole.truth("enabled", default=True) and actions.truth("enabled", default=True),
            dry_run=whole.truth("dry_run", default=False),
            source=document.path.name,
        )
    except PolicyError as error:
        if str(error).startswith(str(document.path)):
            raise
        raise PolicyError(f"{document.path} line {conversations.line}: {conversations.name}: {error}") from error


class PolicySection:
    """A mapping in a policy file, or the absence of one."""

    def __init__(self, path: Path, keys: tuple[str, ...], node: yaml.Node | None) -> None:
        self.path = path
        self._keys = keys
        self._values: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        self.line = 1 if node is None else node.start_mark.line + 1
        if node is None or _is_null(node):
            return
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, self.name or "the document", "a mapping of keys to values is expected here")
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, self.name, "a key must be a plain text")
            if key.value in self._values:
                raise self._error(key, self._full(key.value), "the key stands here twice")
            self._values[key.value] = (key, value)

    @property
    def name(self) -> str:
        """The section's keys, joined by points."""
        return ".".join(self._keys)

    def _full(self, key: str) -> str:
        return ".".join((*self._keys, key))

    def _error(self, node: yaml.Node, key: str, problem: str) -> PolicyError:
        return PolicyError(f"{self.path} line {node.start_mark.line + 1}: {key}: {problem}")

    def section(self, key: str) -> PolicySection:
        """The mapping under a key; an empty one where there is none."""
        found = self._values.get(key)
        return PolicySection(self.path, (*self._keys, key), None if found is None else found[1])

    def refuse_unknown(self, known: frozenset[str]) -> None:
        """Refuse keys that mean nothing here."""
        for key, (node, _) in self._values.items():
            if key not in known:
                raise self._error(node, self._full(key), f"unknown key; known here are {', '.join(sorted(known))}")

    def days(self, key: str) -> int | None:
        """A positive number of days; None where the key is missing or null."""
        found = self._values.get(key)
        return None if found is None or _is_null(found[1]) else self._days(self._full(key), found[1])

    def _days(self, name: str, node: yaml.Node) -> int:
        value = node.value if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":int") else None
        try:
            days = int(value) if value is not None else 0
        except ValueError:
            days = 0
        if not 1 <= days <= _LONGEST_DAYS:
            shown = node.value if isinstance(node, yaml.ScalarNode) else "a list or a mapping"
            raise self._error(node, name, f"a whole number of days from 1 to {_LONGEST_DAYS} is expected, not {shown}")
        return days

    def all_days(self) -> dict[str, int]:
        """Every key with its number of days."""
        return {key: self._days(self._full(key), value) for key, (_, value) in self._values.items()}

    def truth(self, key: str, *, default: bool) -> bool:
        """True or false; the default where the key is missing or null."""
        found = self._values.get(key)
        if found is None or _is_null(found[1]):
            return default
        node = found[1]
        if not isinstance(node, yaml.ScalarNode) or not node.tag.endswith(":bool"):
            raise self._error(node, self._full(key), "true or false is expected")
        return node.value.lower() in {"true", "yes", "on"}

    def texts(self, key: str) -> frozenset[str]:
        """A list of texts; none where the key is missing or null."""
        found = self._values.get(key)
        if found is None or _is_null(found[1]):
            return frozenset()
        node = found[1]
        if not isinstance(node, yaml.SequenceNode):
            raise self._error(node, self._full(key), "a list of texts is expected")
        for item in node.value:
            if not isinstance(item, yaml.ScalarNode) or _is_null(item) or not item.value:
                raise self._error(item, self._full(key), "each item of the list must be a text")
        return frozenset(item.value for item in node.value)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")
