"""The targets of this installation, in the order in which they are erased.

Here: settings become targets. Not here: how one works.

Sessions go first: who is logged in writes new data while the old is erased. Conversations follow, and only then the
notes, some of which say whose a conversation is; then memories, the tables in the order of the setting, and what other
packages bring along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.memories import MemoryTarget
from compliance_pipelines.erasure.notes import NoteTarget
from compliance_pipelines.erasure.sessions import session_targets
from compliance_pipelines.erasure.table_rules import rules_from_json
from compliance_pipelines.erasure.tables import TableTarget
from compliance_pipelines.erasure.targets import ErasureTarget, check_names, installed_targets
from compliance_pipelines.erasure.threads import ThreadTarget

if TYPE_CHECKING:
    from compliance_pipelines.settings import Settings


def configured_targets(settings: Settings) -> list[ErasureTarget]:
    """Every target; nothing is connected to yet.

    Raises:
        TargetError: one cannot be used, or two have the same name.
        ConfigurationError: a URL is malformed.
    """
    of_redis = (
        *session_targets(settings),
        ThreadTarget.from_settings(settings),
        NoteTarget.from_settings(settings),
        MemoryTarget.from_settings(settings),
    )
    targets: list[ErasureTarget] = [target for target in of_redis if target is not None]
    if settings.gdpr_sql_targets is not None:
        rules = rules_from_json(settings.gdpr_sql_targets.get_secret_value())
        if settings.gdpr_pseudonym_key is None and (lacking := [rule for rule in rules if rule.needs_pseudonyms]):
            raise TargetError(
                f"GDPR_SQL_TARGETS: {lacking[0].name or lacking[0].table} sets {{pseudonym}}, which needs a key: set "
                "GDPR_PSEUDONYM_KEY"
            )
        targets += [TableTarget.from_rule(rule, tls_min_version=settings.audit_log_tls_min_version) for rule in rules]
    targets += installed_targets(settings)
    check_names(targets)
    return targets
