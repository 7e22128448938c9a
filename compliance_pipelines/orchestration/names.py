"""What the project's definitions are called where it is a guest in somebody else's Dagster.

Here: the rule that makes a name of the project's own one, and the resource by which sensors, schedules and assets learn
it. Not here: the names of the project's own (keys.py and the definitions themselves); giving definitions other names
(renaming.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dagster import AssetCheckKey, AssetKey

from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES: Final = "compliance_names"

# What keeps jobs, schedules, sensors and ops apart from those of a host that gives no prefix of its own.
GUEST_PREFIX: Final = "compliance"
# What Dagster takes as a name; parts of keys may be more.
_NAME: Final = re.compile(r"[A-Za-z0-9_]+")
_PART: Final = re.compile(r"[A-Za-z0-9_.-]+")


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
    def of(cls, key_prefix: str | Sequence[str], group_prefix: str, name_prefix: str | None) -> Names:
        """The names that a host asks for.

        Args:
            key_prefix: one part of a path, or several; none leaves the keys as they are.
            group_prefix: empty leaves the groups as they are.
            name_prefix: None takes the key's prefix, else the groups', else `compliance`; empty leaves the names as
                they are.

        Raises:
            ConfigurationError: Dagster takes no such names.
        """
        path = (key_prefix,) if isinstance(key_prefix, str) and key_prefix else tuple(key_prefix)
        if not all(_PART.fullmatch(part) for part in path):
            raise ConfigurationError(
                f"key_prefix {key_prefix!r} cannot be used: each of its parts must be letters, digits and _ . -"
            )
        if name_prefix is None:
            name_prefix = re.sub(r"[.-]", "_", "_".join(path)) or group_prefix or GUEST_PREFIX
        for name, prefix in (("group_prefix", group_prefix), ("name_prefix", name_prefix)):
            if prefix and not _NAME.fullmatch(prefix):
                raise ConfigurationError(f"{name} {prefix!r} cannot be used: it must be letters, digits, underscores")
        return cls(path, group_prefix, name_prefix)

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
