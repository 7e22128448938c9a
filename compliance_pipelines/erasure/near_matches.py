"""Ids that look like a person's and are not: what the targets hold of them.

Here: looking for them. Not here: what looks alike (base/likeness.py). Whatever is found is told and never deleted: it
may be the person's under an id that was written otherwise, or somebody else's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.likeness import Likeness, variants
from compliance_pipelines.base.unseen import shown_text
from compliance_pipelines.erasure.asking import AskedTarget, facts_of
from compliance_pipelines.erasure.case import EventKind
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.findings import described
from compliance_pipelines.erasure.locks import lock_requests
from compliance_pipelines.erasure.record import add_event, load
from compliance_pipelines.erasure.targets import ListsIds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from compliance_pipelines.erasure.case import Case
    from compliance_pipelines.erasure.targets import ErasureTarget
    from compliance_pipelines.services import Services

_MOST: Final = 20


@dataclass(frozen=True)
class NearMatches:
    """What a search found.

    Attributes:
        found: for each target that has any, the first ids that look like one of the person's.
        unseen: for each target that could not be looked at, why.
    """

    found: dict[str, list[str]]
    unseen: dict[str, str]

    def lines(self) -> list[str]:
        """In words, one line each."""
        return [
            *(
                f"{target} has data of an id that looks like it: {with_numbers(user_id)}; it is not erased"
                for target, user_ids in self.found.items()
                for user_id in user_ids
            ),
            *(f"not searched for ids that look like it: {target}: {why}" for target, why in self.unseen.items()),
        ]

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"found": self.found, "unseen": self.unseen}


def with_numbers(user_id: str) -> str:
    """An id in which every character can be told from those that look like it."""
    shown = shown_text(user_id)
    numbers = dict.fromkeys(f"U+{ord(each):04X}" for each in shown if not each.isascii())
    return f"{shown!r} ({', '.join(numbers)})" if numbers else repr(shown)


def near_matches(services: Services, targets: Sequence[ErasureTarget], user_ids: Sequence[str]) -> NearMatches:
    """The ids that look like one of these, in each target; one that fails does not stop the others.

    A target that cannot list its ids is asked for some ids that look alike.

    Args:
        services: the opened services.
        targets: all of the settings.
        user_ids: the person's.
    """
    found: dict[str, list[str]] = {}
    unseen: dict[str, str] = {}
    facts = facts_of(services, 0, user_ids)
    likeness = Likeness(user_ids)
    for target in targets:
        # Somebody else's code can fail with anything.
        try:
            AskedTarget(target, user_ids, facts).require_environment(services)
            near = _first(each for each in _ids_of(target, user_ids) if likeness.of(each))
        except Exception as error:  # noqa: BLE001 - see above
            unseen[target.name] = described(error)
            continue
        if near:
            found[target.name] = near
    return NearMatches(found, unseen)


def near_matches_in_settings(services: Services, user_ids: Sequence[str]) -> NearMatches:
    """The same in the targets of the settings; where these cannot be used, that is said and is no error."""
    try:
        targets = configured_targets(services.settings)
    except ComplianceError as error:
        return NearMatches({}, {"the targets": str(error)})
    return near_matches(services, targets, user_ids)


def _ids_of(target: ErasureTarget, user_ids: Sequence[str]) -> Iterable[str]:
    if isinstance(target, ListsIds):
        return target.user_ids()
    tried = dict.fromkeys(variant for user_id in user_ids for variant in variants(user_id))
    return (variant for variant in tried if target.find(variant).items)


def _first(user_ids: Iterable[str]) -> list[str]:
    kept: dict[str, None] = {}
    for user_id in user_ids:
        kept[user_id] = None
        if len(kept) == _MOST:
            break
    return sorted(kept)


def note_near_matches(services: Services, case: Case, near: NearMatches) -> Case:
    """Put on a request's record what was found, where there is anything to say."""
    if not near.lines():
        return case
    with services.engine.begin() as connection:
        lock_requests(connection)
        now = load(connection, case.request.id)
        if not now.is_open:
            return now
        add_event(connection, now, now.attempts, EventKind.NOTED, near=near.as_json(), notes=near.lines())
        return load(connection, case.request.id)
