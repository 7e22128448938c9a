"""What the project's definitions are called where it is a guest in somebody else's Dagster.

Here: the rule that makes a name of the project's own one, in definitions and in texts, and the resource by which
sensors, schedules, checks and assets learn it. Not here: the names of the project's own (keys.py and the definitions
themselves); giving definitions other names (renaming.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dagster import AssetCheckKey, AssetKey

from compliance_pipelines.settings import ConfigurationError

NAMES: Final = "compliance_names"

# What keeps jobs, schedules, sensors and ops apart from those of a host that gives no prefix of its own.
GUEST_PREFIX: Final = "compliance"
# What Dagster takes as a name; parts of keys may be more.
_NAME: Final = re.compile(r"[A-Za-z0-9_]*")
_NAME_PREFIX: Final = re.compile(r"(?!__)[A-Za-z0-9_]*")
_PART: Final = re.compile(r"[A-Za-z0-9_.-]+")
_NO_WORD: Final = re.compile(r"[.-]")
# How texts of the project name what a prefix renames: "the job `seal`". Checks keep their names, and so do commands.
_NAMED: Final = re.compile(r"\b(job|schedule|sensor) `(\w+)`")
_NAMED_ASSET: Final = re.compile(r"\basset `([\w/]+)`")


@dataclass(frozen=True)
class Names:
    """How names of the project become names of the host's Dagster; as it is made, nothing is changed.

    Attributes:
        key_prefix: what stands before the path of every asset key.
        group_prefix: what stands, with an underscore, before every group.
        name_prefix: what stands, with an underscore, before every job, schedule, sensor and op.
    """

    key_prefix: tuple[str, ...] = ()
    group_prefix: str = ""
    name_prefix: str = ""

    @classmethod
    def of(cls, key_prefix: str | Sequence[str] | None, group_prefix: str | None, name_prefix: str | None) -> Names:
        """The names that a host asks for.

        Args:
            key_prefix: one part of a path, or several; None, or none of them, leaves the keys as they are.
            group_prefix: None, or an empty one, leaves the groups as they are.
            name_prefix: None takes the key's prefix, else the groups', else `compliance`; empty leaves the names as
                they are.

        Raises:
            ConfigurationError: Dagster takes no such names.
        """
        path = _path(key_prefix)
        group = group_prefix or ""
        if not _matches(_NAME, group):
            raise ConfigurationError(f"group_prefix {group!r} cannot be used: it must be letters, digits, underscores")
        if name_prefix is None:
            name_prefix = _NO_WORD.sub("_", "_".join(path)).lstrip("_") or group.lstrip("_") or GUEST_PREFIX
        # Two underscores begin what Dagster itself names, as the job of all assets.
        if not _matches(_NAME_PREFIX, name_prefix):
            raise ConfigurationError(
                f"name_prefix {name_prefix!r} cannot be used: it must be letters, digits, underscores, and not begin "
                "with two of these"
            )
        return cls(path, group, name_prefix)

    def asset(self, key: AssetKey) -> AssetKey:
        """The key of an asset."""
        return key.with_prefix(self.key_prefix) if self.key_prefix else key

    def check(self, key: AssetCheckKey) -> AssetCheckKey:
        """The key of a check: its asset's, and its own name as it is."""
        return AssetCheckKey(self.asset(key.asset_key), key.name)

    def group(self, name: str) -> str:
        """The name of a group of assets."""
        return f"{self.group_prefix}_{name}" if self.group_prefix else name

    def name(self, name: str) -> str:
        """The name of a job, a schedule, a sensor or an op."""
        return f"{self.name_prefix}_{name}" if self.name_prefix else name

    def text(self, text: str) -> str:
        """A text whose jobs, schedules, sensors and assets have their names of here.

        Args:
            text: names them as the project does, after the word that says what they are: "the job `seal`", "the asset
                `audit/audit_logs`".
        """
        named = _NAMED.sub(lambda found: f"{found[1]} `{self.name(found[2])}`", text)
        return _NAMED_ASSET.sub(lambda found: f"asset `{'/'.join((*self.key_prefix, found[1]))}`", named)


def _matches(pattern: re.Pattern[str], given: object) -> bool:
    return isinstance(given, str) and pattern.fullmatch(given) is not None


def _path(key_prefix: str | Sequence[str] | None) -> tuple[str, ...]:
    if not key_prefix:
        return ()
    # An AssetKey looks like a sequence, and is none.
    one = isinstance(key_prefix, str | AssetKey) or not isinstance(key_prefix, Sequence)
    path = [key_prefix] if one else list(key_prefix)
    parts = tuple(part for part in path if isinstance(part, str) and _matches(_PART, part))
    if len(parts) < len(path):
        raise ConfigurationError(
            f"key_prefix {key_prefix!r} cannot be used: it must be one text or several, each of letters, digits and "
            "_ . -"
        )
    return parts
