"""What an erasure would delete now, before it deletes anything.

Here: looking at every target for a person, and the number that somebody agrees to. Not here: deleting (runner.py).
Nothing is changed, and nothing is put on record.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from compliance_pipelines.erasure.asking import AskedTarget, facts_of
from compliance_pipelines.erasure.errors import ErasureError
from compliance_pipelines.erasure.findings import counted, described, notes_to_json, reported_to_json
from compliance_pipelines.erasure.holding import hold_on_person, hold_to_json, split_by_holds
from compliance_pipelines.holds import active_holds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compliance_pipelines.erasure.case import Identifiers
    from compliance_pipelines.erasure.targets import ErasureTarget
    from compliance_pipelines.holds import HoldSet
    from compliance_pipelines.services import Services


@dataclass(frozen=True)
class TargetPreview:
    """What one target holds of the person.

    Attributes:
        name: of the target.
        location: where.
        would_go: how many things of each data type would be deleted.
        held: what each legal hold keeps, as on record.
        reported: what would be left to a human, as on record.
        notes: what else there is to say.
        error: why it could not be looked at; None where it could.
    """

    name: str
    location: str
    would_go: Counter[str] = field(default_factory=Counter)
    held: tuple[dict[str, Any], ...] = ()
    reported: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Preview:
    """What an erasure would do now.

    Attributes:
        identifiers: under which the person was looked for.
        hold: the hold on the whole person, as on record, under which nothing would go; None where there is none.
        targets: each, in the order in which they are erased.
        request_id: of the request; 0 where there is none.
    """

    identifiers: Identifiers
    hold: dict[str, Any] | None
    targets: tuple[TargetPreview, ...]
    request_id: int = 0

    @property
    def would_go(self) -> int:
        """How many things would be deleted, of what could be looked at."""
        return sum(target.would_go.total() for target in self.targets)

    @property
    def unseen(self) -> list[TargetPreview]:
        """The targets that could not be looked at."""
        return [target for target in self.targets if target.error is not None]

    def require_at_most(self, limit: int, *, agreed: bool) -> None:
        """Let only an erasure pass that deletes no more than this.

        Args:
            limit: how many things.
            agreed: whether a person gave the number; else it is the setting's.

        Raises:
            ErasureError: it would delete more, or nobody can tell because a target could not be looked at.
        """
        if self.unseen:
            first = self.unseen[0]
            raise ErasureError(
                f"nobody can tell how much would go: {first.name} could not be looked at: {first.error}; nothing was "
                "deleted"
            )
        if self.would_go > limit:
            whose = "that were agreed to" if agreed else "of GDPR_ERASURE_MAX_ITEMS"
            raise ErasureError(
                f"{self.would_go} items would go, more than the {limit} {whose}; nothing was deleted: look at "
                f"`compliance erase plan {self.request_id}`; if it is right: compliance erase run {self.request_id} "
                f"--confirm {self.would_go}"
            )

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "user_id": self.identifiers.subject,
            "aliases": dict(self.identifiers.aliases),
            "would_go": self.would_go,
            "complete": not self.unseen,
            "hold": self.hold,
            "targets": [
                {
                    "target": target.name,
                    "location": target.location,
                    "would_go": dict(sorted(target.would_go.items())),
                    "held": list(target.held),
                    "reported": list(target.reported),
                    "notes": list(target.notes),
                    "error": target.error,
                }
                for target in self.targets
            ],
        }


def preview(
    services: Services, targets: Sequence[ErasureTarget], identifiers: Identifiers, *, request_id: int = 0
) -> Preview:
    """Look at every target; one that fails does not stop the others.

    Args:
        services: the opened services.
        targets: in the order in which they are erased.
        identifiers: of the person.
        request_id: of the request, where there is one.

    Raises:
        ConfigurationError: the key of the pseudonyms cannot be used.
    """
    with services.engine.connect() as connection:
        holds = active_holds(connection)
    facts = facts_of(services, request_id, identifiers.all)
    hold = hold_on_person(holds, identifiers.all)
    seen = tuple(
        _look(services, AskedTarget(target, identifiers.all, facts), holds, identifiers.all) for target in targets
    )
    return Preview(identifiers, None if hold is None else hold_to_json(hold), seen, request_id)


def _look(services: Services, target: AskedTarget, holds: HoldSet, user_ids: Sequence[str]) -> TargetPreview:
    # Somebody else's code can fail with anything.
    try:
        target.require_environment(services)
        found = target.find()
    except Exception as error:  # noqa: BLE001 - see above
        return TargetPreview(target.name, target.location, error=described(error))
    free, held = split_by_holds(found.items, holds, user_ids)
    return TargetPreview(
        target.name,
        target.location,
        counted(free),
        tuple(held),
        tuple(reported_to_json(found)),
        tuple(notes_to_json(found).get("notes", ())),
    )
