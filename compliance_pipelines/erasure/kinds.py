"""Kinds of data as a person is told them, instead of the names that targets and tables have.

Here: which kinds there are, which words the controller gave (GDPR_DATA_WORDS), and what becomes of a table's rows. Not
here: the project's own words (letter_words.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.erasure.table_rules import rules_from_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compliance_pipelines.erasure.table_rules import TableRule
    from compliance_pipelines.settings import Settings

OTHER: Final = "other"
DESCRIBED: Final = "described"
OWN_KINDS: Final = ("sessions", "session_lists", "conversations", "memories", "memory_vectors")
"""Kinds that the project's own targets find, each by that name; every finding is one thing."""
KINDS: Final = (*OWN_KINDS, OTHER)

UNLINKED: Final = "unlinked"
REDUCED: Final = "reduced"


@dataclass(frozen=True)
class Kinds:
    """How kinds of data are told to a person.

    Attributes:
        words: for a kind, words in languages; they go before those that the project has.
        overwritten: tables whose rows are not deleted: UNLINKED where they name nobody afterwards, REDUCED where they
            still name the person and lose details only.
    """

    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    overwritten: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_settings(cls, settings: Settings) -> Kinds:
        """What the settings say.

        Raises:
            TargetError: GDPR_SQL_TARGETS cannot be used.
        """
        secret = settings.gdpr_sql_targets
        rules = () if secret is None else rules_from_json(secret.get_secret_value())
        overwritten = {rule.name or rule.table: _what_becomes(rule) for rule in rules if rule.action == "set"}
        words = {
            kind: {str(code): text for code, text in each.items()} for kind, each in settings.gdpr_data_words.items()
        }
        return cls(words, overwritten)

    def told(self, data_type: str) -> dict[str, Any]:
        """The kind that a data type of the record is, with its words where it has some."""
        if data_type in self.words:
            return {"kind": DESCRIBED, "words": dict(self.words[data_type])}
        return {"kind": data_type if data_type in OWN_KINDS else OTHER}


def _what_becomes(rule: TableRule) -> str:
    # A pseudonym names the person to whoever has the key.
    return UNLINKED if rule.user_column in rule.values and not rule.needs_pseudonyms else REDUCED
