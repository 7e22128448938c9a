"""Carrying an erasure request out: each target, then another look at each, then the record that closes it.

Here: one attempt, and which requests are due for one. Not here: what a target does, what the record says (closing.py).

Every step is put on record before the next one, so that whoever goes on after a crash knows what is done. An attempt
that cannot finish leaves the request open; the next one does only what is not done.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from compliance_pipelines.audit_log.environment import environment_of
from compliance_pipelines.database_errors import LockBusyError
from compliance_pipelines.database_locks import process_lock
from compliance_pipelines.erasure import closing
from compliance_pipelines.erasure.errors import RequestBusyError, TargetError
from compliance_pipelines.erasure.record import Case, EventKind, add_event, due_cases, load
from compliance_pipelines.erasure.targets import EnvironmentBound, check_names
from compliance_pipelines.holds import active_holds, holds_locked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import sqlalchemy

    from compliance_pipelines.erasure.targets import ErasureTarget, Findings, Item
    from compliance_pipelines.holds import Hold, HoldSet
    from compliance_pipelines.services import Services

_LOCK_NAME: Final = "erasure.request"
_LONGEST_ERROR: Final = 2000
_MOST_REFERENCES: Final = 100


class RunStep(StrEnum):
    """What has just been done when the step hook is called; the target is named where there is one."""

    STARTED = "started"
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
    services: Services, targets: Sequence[ErasureTarget], request_id: int, *, hook: StepHook = no_hook
) -> Case:
    """Make one attempt at a request, whether it is due or not. A closed one is left as it is.

    Args:
        services: the opened services.
        targets: in the order in which they are erased.
        request_id: its number.
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
    with services.engine.connect() as connection, ExitStack() as stack:
        lock = process_lock(connection, _LOCK_NAME, str(request_id), doing=f"erasure request {request_id}")
        try:
            stack.enter_context(lock)
        except LockBusyError as error:
            raise RequestBusyError(str(error)) from error
        with connection.begin():
            case = load(connection, request_id)
        if case.closure is not None:
            return case
        return _Attempt(services, targets, connection, case, hook).run()


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

    def __init__(
        self,
        services: Services,
        targets: Sequence[ErasureTarget],
        connection: sqlalchemy.Connection,
        case: Case,
        hook: StepHook,
    ) -> None:
        self._services = services
        self._targets = targets
        self._connection = connection
        self._case = case
        self._hook = hook
        self._number = case.attempts + 1
        self._user_id = case.request.user_id

    def run(self) -> Case:
        self._put(EventKind.STARTED, targets=[target.name for target in self._targets])
        self._hook(RunStep.STARTED, None)
        if not self._person_is_held():
            for target in self._targets:
                if not self._case.is_done(target.name):
                    self._erase(target)
            if all(self._case.is_done(target.name) for target in self._targets) and self._nothing_is_left():
                return self._close()
        return self._end()

    def _put(self, kind: EventKind, *, target: str | None = None, **detail: object) -> None:
        with self._connection.begin():
            add_event(self._connection, self._case, self._number, kind, target=target, **detail)
            self._case = load(self._connection, self._case.request.id)

    def _person_is_held(self) -> bool:
        with self._services.engine.connect() as connection:
            hold = active_holds(connection).covers_user(self._user_id)
        if hold is not None:
            self._put(EventKind.HELD, holds=[_hold_to_json(hold)])
        return hold is not None

    def _erase(self, target: ErasureTarget) -> None:
        # Whatever somebody else's code fails with must neither stop the other targets nor be lost.
        try:
            self._erase_under_holds(target)
        except Exception as error:  # noqa: BLE001 - see above
            self._put(EventKind.FAILED, target=target.name, location=target.location, error=_described(error))

    def _require_environment(self, target: ErasureTarget) -> None:
        """Another environment's place has nothing of the person, and its emptiness would close the request."""
        if isinstance(target, EnvironmentBound):
            with self._services.engine.connect() as connection:
                environment = environment_of(connection)
            target.require_environment(environment)

    def _erase_under_holds(self, target: ErasureTarget) -> None:
        self._require_environment(target)
        findings = target.find(self._user_id)
        found = _counted(findings.items)
        # What an interrupted attempt had found and is no longer there is what it deleted.
        self._put(
            EventKind.FOUND,
            target=target.name,
            location=target.location,
            items=found,
            deleted=self._case.unaccounted(target.name) - found,
            **_notes(findings),
        )
        self._hook(RunStep.FOUND, target.name)
        # Until the deletion is done no hold that covers something of it can come into force.
        with self._services.engine.connect() as guard, holds_locked(guard) as holds:
            self._require_environment(target)
            free, held = _split(findings.items, holds, self._user_id)
            deleted = dict(target.delete(self._user_id, free)) if free else {}
            self._hook(RunStep.ERASED, target.name)
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
        answers = [self._rescan(target) for target in self._targets]
        return all(answers)

    def _rescan(self, target: ErasureTarget) -> bool:
        where = {"target": target.name, "location": target.location}
        try:
            self._require_environment(target)
            findings = target.rescan(self._user_id)
        except Exception as error:  # noqa: BLE001 - as in _erase
            self._put(EventKind.FAILED, **where, error=_described(error))
            return False
        if findings.items:
            counted = _counted(findings.items)
            named = ", ".join(f"{count} {data_type}" for data_type, count in sorted(counted.items()))
            self._put(
                EventKind.FAILED, **where, error=f"{named} came back after they had been deleted", came_back=counted
            )
            return False
        self._put(EventKind.VERIFIED, **where, reported=_reported_to_json(findings), **_notes(findings))
        self._hook(RunStep.VERIFIED, target.name)
        return True

    def _close(self) -> Case:
        with self._connection.begin():
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


def _counted(items: Sequence[Item]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for item in items:
        counted[item.data_type] += item.count
    return counted


def _split(items: Sequence[Item], holds: HoldSet, user_id: str) -> tuple[list[Item], list[dict[str, Any]]]:
    """What may be deleted, and what each hold keeps of the rest."""
    free = []
    held: dict[tuple[int, str], dict[str, Any]] = {}
    for item in items:
        hold = _hold_on(item, holds, user_id)
        if hold is None:
            free.append(item)
            continue
        kept = held.setdefault(
            (hold.id, item.data_type), {**_hold_to_json(hold), "data_type": item.data_type, "count": 0}
        )
        kept["count"] += item.count
    return free, list(held.values())


def _hold_on(item: Item, holds: HoldSet, user_id: str) -> Hold | None:
    of_thread = None if item.thread_id is None else holds.covers_thread(item.thread_id, user_id)
    return holds.covers_user(user_id) or of_thread or holds.covers_activity(item.first_day, item.last_day)


def _hold_to_json(hold: Hold) -> dict[str, Any]:
    return {
        "hold": hold.id,
        "covers": hold.covered,
        "reason": hold.reason,
        "author": hold.author,
        "exception": "GDPR Article 17(3)(e), legal claims",
    }


def _reported_to_json(findings: Findings) -> list[dict[str, Any]]:
    """What is left to a human, by kind and reason, with the first references of each."""
    groups: dict[tuple[str, str, bool], dict[str, Any]] = {}
    for reported in findings.reported:
        key = (reported.data_type, reported.why, reported.is_theirs)
        group = groups.setdefault(
            key,
            {
                "data_type": reported.data_type,
                "why": _storable(reported.why),
                "is_theirs": reported.is_theirs,
                "count": 0,
                "references": [],
            },
        )
        group["count"] += reported.count
        if len(group["references"]) < _MOST_REFERENCES:
            group["references"].append(_storable(reported.reference))
    return list(groups.values())


def _notes(findings: Findings) -> dict[str, Any]:
    return {"notes": [_storable(note) for note in findings.notes]} if findings.notes else {}


def _described(error: Exception) -> str:
    return _storable(f"{type(error).__name__}: {' '.join(str(error).split())}")[:_LONGEST_ERROR]


def _storable(text: str) -> str:
    """The text with whatever PostgreSQL cannot hold written out."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
