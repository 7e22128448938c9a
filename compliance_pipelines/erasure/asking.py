"""Asking a target for a person, whatever it can: one id after the other, or all at once.

Here: how the answers for several ids become one. Not here: what is done with it (runner.py, preview.py).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from compliance_pipelines.audit_log.environment import environment_of
from compliance_pipelines.erasure.record import requests_naming
from compliance_pipelines.erasure.targets import EnvironmentBound, Findings, RequestBound, RequestFacts, SeveralIds
from compliance_pipelines.pseudonyms import pseudonym, subjects_from_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from compliance_pipelines.erasure.targets import ErasureTarget, Item, Reported
    from compliance_pipelines.services import Services


def facts_of(services: Services, request_id: int, user_ids: Collection[str]) -> RequestFacts:
    """What the targets may know of a request.

    Raises:
        ConfigurationError: the key of the pseudonyms cannot be used.
    """
    key = subjects_from_settings(services.settings).key
    with services.engine.connect() as connection:
        named = requests_naming(connection, user_ids)
    return RequestFacts(
        request_id,
        {} if key is None else {each: pseudonym(each, key) for each in user_ids},
        tuple(number for number in named if number != request_id),
    )


class AskedTarget:
    """A target that is asked for one person.

    Args:
        target: of the settings.
        user_ids: the person's, the subject first.
        facts: of the request.
    """

    def __init__(self, target: ErasureTarget, user_ids: Sequence[str], facts: RequestFacts) -> None:
        self.target = target.for_request(facts) if isinstance(target, RequestBound) else target
        self.name = target.name
        self.location = target.location
        self._user_ids = tuple(user_ids)
        # By identity: items of two ids may be equal. The items themselves are kept, so that no number is used again.
        self._found_for: dict[int, tuple[Item, str]] = {}

    def require_environment(self, services: Services) -> None:
        """Let only a place of the database's environment pass, where the target can tell.

        Another environment's place has nothing of the person, and its emptiness would close the request.
        """
        if isinstance(self.target, EnvironmentBound):
            with services.engine.connect() as connection:
                environment = environment_of(connection)
            self.target.require_environment(environment)

    def find(self) -> Findings:
        """Everything of the person; the target's errors pass."""
        if len(self._user_ids) > 1 and isinstance(self.target, SeveralIds):
            return self.target.find_any(frozenset(self._user_ids))
        return self._each(self.target.find)

    def rescan(self) -> Findings:
        """What is left of it."""
        if len(self._user_ids) > 1 and isinstance(self.target, SeveralIds):
            return self.target.rescan_any(frozenset(self._user_ids))
        return self._each(self.target.rescan)

    def delete(self, items: Sequence[Item]) -> Mapping[str, int]:
        """Delete items that :meth:`find` gave; how many of each data type."""
        if len(self._user_ids) > 1 and isinstance(self.target, SeveralIds):
            return self.target.delete_any(frozenset(self._user_ids), items)
        deleted: Counter[str] = Counter()
        for user_id in self._user_ids:
            if theirs := [item for item in items if self._found_for[id(item)][1] == user_id]:
                deleted.update(self.target.delete(user_id, theirs))
        return deleted

    def _each(self, look: Callable[[str], Findings]) -> Findings:
        self._found_for = {}
        reported: Counter[Reported] = Counter()
        notes: list[str] = []
        for user_id in self._user_ids:
            findings = look(user_id)
            for item in findings.items:
                self._found_for.setdefault(id(item), (item, user_id))
            # What is reported for each id is one thing.
            reported |= Counter(findings.reported)
            named = f"{user_id}: " if len(self._user_ids) > 1 else ""
            notes += [named + note for note in findings.notes]
        items = tuple(item for item, _ in self._found_for.values())
        return Findings(items, tuple(reported.elements()), tuple(notes))
