"""Carrying an erasure request out: each target, then another look at each, then the record that closes it.

Here: one attempt, and which requests are due for one. Not here: what a target does, what the record says (closing.py).

Every step is put on record before the next one, so that whoever goes on after a crash knows what is done. An attempt
that cannot finish leaves the request open; the next one does only what is not done.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from compliance_pipelines.erasure import closing
from compliance_pipelines.erasure.asking import AskedTarget, facts_of
from compliance_pipelines.erasure.case import CONFIRMATION, IDENTIFIERS, EventKind
from compliance_pipelines.erasure.errors import ErasureError, RequestBusyError, TargetError
from compliance_pipelines.erasure.findings import counted, described, notes_to_json, reported_to_json
from compliance_pipelines.erasure.holding import hold_on_person, hold_to_json, split_by_holds
from compliance_pipelines.erasure.identifying import identify
from compliance_pipelines.erasure.locks import lock_requests, request_locked
from compliance_pipelines.erasure.preview import preview
from compliance_pipelines.erasure.record import add_event, due_cases, load
from compliance_pipelines.erasure.targets import check_names
from compliance_pipelines.holds import active_holds, holds_locked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import sqlalchemy

    from compliance_pipelines.erasure.case import Case
    from compliance_pipelines.erasure.targets import ErasureTarget, Item
    from compliance_pipelines.services import Services


class RunStep(StrEnum):
    """What has just been done when the step hook is called; the target is named where there is one."""

    STARTED = "started"
    IDENTIFIED = "identified"
    FOUND = "found"
    ERASED = "erased"
    DELETED = "deleted"
    VERIFIED = "verified"
    RECORDED = "recorded"
    CLOSED = "closed"


class StepHook(Protocol):
    """Called after each step, for tests that interrupt."""

    def __call__(self, step: RunStep, target: str | None, /) -> None:
        """`step` is done."""


def no_hook(step: RunStep, target: str | None, /) -> None:
    """Let every step pass."""


def run_request(
    services: Services,
    targets: Sequence[ErasureTarget],
    request_id: int,
    *,
    confirmed: int | None = None,
    hook: StepHook = no_hook,
) -> Case:
    """Make one attempt at a request, whether it is due or not. One that has ended is left as it is.

    Args:
        services: the opened services.
        targets: in the order in which they are erased.
        request_id: its number.
        confirmed: how many things a person agreed to lose at most; None: GDPR_ERASURE_MAX_ITEMS holds.
        hook: called after each step.

    Returns:
        The request as it is after the attempt: closed, held or partial.

    Raises:
        RequestNotFoundError: there is none of this number.
        RequestBusyError: another process is at it.
        TargetError: there is no target, or two of one name.
    """
    if not targets:
        raise TargetError(
            "no erasure target is configured, so that an erasure would delete nothing: see docs/erasure.md, and "
            "`compliance erase targets` for what there is"
        )
    check_names(targets)
    with services.engine.connect() as connection, request_locked(connection, request_id):
        with connection.begin():
            case = load(connection, request_id)
        if not case.is_open:
            return case
        return _Attempt(services, targets, connection, case, hook, confirmed).run()


def run_due(
    services: Services,
    targets: Callable[[], Sequence[ErasureTarget]],
    *,
    hook: StepHook = no_hook,
) -> list[Case]:
    """Make one attempt at every open request that is due for one, the nearest deadline first.

    A request that another process is at is left to it.

    Args:
        services: the opened services; the clock decides what is due.
        targets: gives the targets; called only if there is something to do.
        hook: called after each step.

    Returns:
        The requests as they are after their attempts.

    Raises:
        TargetError: a request is due, and there is no target or two of one name.
    """
    with services.engine.connect() as connection:
        due = due_cases(connection, services.clock())
    if not due:
        return []
    opened = targets()
    done = []
    for case in due:
        try:
            done.append(run_request(services, opened, case.request.id, hook=hook))
        except RequestBusyError:
            continue
    return done


class _Attempt:
    """One attempt at one request."""

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place
        self,
        services: Services,
        targets: Sequence[ErasureTarget],
        connection: sqlalchemy.Connection,
        case: Case,
        hook: StepHook,
        confirmed: int | None,
    ) -> None:
        self._services = services
        self._targets = targets
        self._connection = connection
        self._case = case
        self._hook = hook
        self._number = case.attempts + 1
        self._asked: list[AskedTarget] = []
        self._confirmed = confirmed
        self._touched = False
        # How much may still go in this attempt.
        self._left = services.settings.gdpr_erasure_max_items if confirmed is None else confirmed

    def run(self) -> Case:
        agreed: dict[str, Any] = {} if self._confirmed is None else {"confirmed": self._confirmed}
        self._put(EventKind.STARTED, targets=[target.name for target in self._targets], **agreed)
        self._hook(RunStep.STARTED, None)
        if self._person_is_identified() and not self._person_is_held() and self._is_agreed_to():
            user_ids = self._case.identifiers.all
            facts = facts_of(self._services, self._case.request.id, user_ids)
            self._asked = [AskedTarget(target, user_ids, facts) for target in self._targets]
            for target in self._asked:
                if not self._case.is_done(target.name):
                    self._erase(target)
            if all(self._case.is_done(target.name) for target in self._asked) and self._nothing_is_left():
                return self._close()
        return self._end()

    def _put(self, kind: EventKind, *, target: str | None = None, **detail: object) -> None:
        with self._connection.begin():
            add_event(self._connection, self._case, self._number, kind, target=target, **detail)
            self._case = load(self._connection, self._case.request.id)

    def _person_is_identified(self) -> bool:
        """Read the person's further ids before anything is erased: what says whose they are may be erased, too."""
        try:
            self._case = identify(self._services, self._connection, self._case)
        except Exception as error:  # noqa: BLE001 - as in _erase
            location = "the tables of GDPR_ALIASES_SQL"
            self._put(EventKind.FAILED, target=IDENTIFIERS, location=location, error=described(error))
            return False
        self._hook(RunStep.IDENTIFIED, None)
        return True

    def _person_is_held(self) -> bool:
        with self._services.engine.connect() as connection:
            holds = active_holds(connection)
        hold = hold_on_person(holds, self._case.identifiers.all)
        if hold is not None:
            self._put(EventKind.HELD, holds=[hold_to_json(hold)])
        return hold is not None

    def _is_agreed_to(self) -> bool:
        """Where there is a limit, look at everything before anything goes."""
        if self._left is None:
            return True
        case = self._case
        seen = preview(self._services, self._targets, case.identifiers, request_id=case.request.id)
        try:
            seen.require_at_most(self._left, agreed=self._confirmed is not None)
        except ErasureError as error:
            self._put(EventKind.FAILED, target=CONFIRMATION, location="", error=str(error))
            return False
        return True

    def _require_few_enough(self, free: Sequence[Item]) -> None:
        """More may have come since everything was looked at."""
        if self._left is not None and counted(free).total() > self._left:
            raise ErasureError(
                f"{counted(free).total()} items would go, more than the {self._left} that are left of what was agreed "
                "to: look at the plan again"
            )

    def _erase(self, target: AskedTarget) -> None:
        # Whatever somebody else's code fails with must neither stop the other targets nor be lost.
        self._touched = False
        try:
            self._erase_under_holds(target)
        except Exception as error:  # noqa: BLE001 - see above
            where = {"target": target.name, "location": target.location}
            untouched: dict[str, Any] = {} if self._touched else {"untouched": True}
            self._put(EventKind.FAILED, **where, error=described(error), **untouched)

    def _erase_under_holds(self, target: AskedTarget) -> None:
        target.require_environment(self._services)
        findings = target.find()
        found = counted(findings.items)
        # What an interrupted attempt had found is no longer there: it may have deleted that, or it expired, or somebody
        # else deleted it. So it is told apart from what this erasure is known to have deleted.
        self._put(
            EventKind.FOUND,
            target=target.name,
            location=target.location,
            items=found,
            gone=self._case.unaccounted(target.name) - found,
            **notes_to_json(findings),
        )
        self._hook(RunStep.FOUND, target.name)
        # Until the deletion is done no hold that covers something of it can come into force.
        with self._services.engine.connect() as guard, holds_locked(guard) as holds:
            target.require_environment(self._services)
            free, held = split_by_holds(findings.items, holds, self._case.identifiers.all)
            self._require_few_enough(free)
            self._touched = True
            deleted = dict(target.delete(free)) if free else {}
            self._hook(RunStep.ERASED, target.name)
        if self._left is not None:
            self._left -= sum(deleted.values())
        self._put(
            EventKind.HELD if held else EventKind.DELETED,
            target=target.name,
            location=target.location,
            deleted=deleted,
            **({"holds": held} if held else {}),
        )
        self._hook(RunStep.DELETED, target.name)

    def _nothing_is_left(self) -> bool:
        """Look at every target again, also where one has something left, so that all of it is on record."""
        answers = [self._rescan(target) for target in self._asked]
        return all(answers)

    def _rescan(self, target: AskedTarget) -> bool:
        where = {"target": target.name, "location": target.location}
        try:
            target.require_environment(self._services)
            findings = target.rescan()
        except Exception as error:  # noqa: BLE001 - as in _erase
            self._put(EventKind.FAILED, **where, error=described(error))
            return False
        if findings.items:
            back = counted(findings.items)
            named = ", ".join(f"{count} {data_type}" for data_type, count in sorted(back.items()))
            self._put(EventKind.FAILED, **where, error=f"{named} came back after they had been deleted", came_back=back)
            return False
        self._put(EventKind.VERIFIED, **where, reported=reported_to_json(findings), **notes_to_json(findings))
        self._hook(RunStep.VERIFIED, target.name)
        return True

    def _close(self) -> Case:
        with self._connection.begin():
            # Who asks again meanwhile is on record before the end, or asks for a new erasure after it.
            lock_requests(self._connection)
            self._case = load(self._connection, self._case.request.id)
            closing.close(self._services, self._connection, self._case)
            self._hook(RunStep.RECORDED, None)
            self._case = load(self._connection, self._case.request.id)
        self._hook(RunStep.CLOSED, None)
        return self._case

    def _end(self) -> Case:
        with self._connection.begin():
            entry = closing.record_partial(self._services, self._connection, self._case)
            add_event(
                self._connection,
                self._case,
                self._number,
                EventKind.ENDED,
                log_entry_id=None if entry is None else entry.log_entry_id,
            )
            self._case = load(self._connection, self._case.request.id)
        return self._case
