"""Checks that failed, as a person is told of them: once for each finding, until all was well in between.

Here: walking the executions of our checks, with and without runs, on any of Dagster's storages; what makes a failure no
news. Not here: when, and to whom (alerting.py).

An execution is recorded when it is planned, and its record is filled in when it has an answer, which may be long after
younger ones have theirs. So the cursor keeps, for each check, the last record that was seen and those without an
answer. What failed before the sensor was started told nobody anything, so it makes nothing later no news.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Final, NamedTuple

from dagster import AssetCheckKey, AssetKey, DagsterRunStatus, RunsFilter
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from pydantic import TypeAdapter

from compliance_pipelines.orchestration.checks import UNTOLD, problem_of
from compliance_pipelines.orchestration.cursors import read_cursor
from compliance_pipelines.orchestration.failed_runs import plain, reasons_of_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dagster import AssetCheckEvaluation, DagsterInstance
    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

    from compliance_pipelines.orchestration.own import Own

_PLANNED: Final = AssetCheckExecutionRecordStatus.PLANNED
_FAILED: Final = AssetCheckExecutionRecordStatus.FAILED
_ANSWERS: Final = frozenset([AssetCheckExecutionRecordStatus.SUCCEEDED, _FAILED])
_PAGE: Final = 500
_RUNS_BEFORE: Final = 20
_PARTITION_TAG: Final = "dagster/partition"
# Records have the time of the database, or its second, and answers that of the process.
_CLOCKS_DIFFER_BY_SECONDS: Final = 60.0


@dataclass
class _Seen:
    """One check: the last record that was seen, and those before it that had no answer then."""

    last: int = 0
    unanswered: list[int] = field(default_factory=list)


@dataclass
class _Position:
    """How far the sensor has come with each check, and when it was started, in seconds since 1970."""

    since: float
    seen: dict[str, _Seen]


# Earlier versions kept the last event of all, or for each check the last record and those without an answer.
_CURSORS: Final[TypeAdapter[_Position | dict[str, list[int]] | int]] = TypeAdapter(
    _Position | dict[str, list[int]] | int
)


class _Executions(NamedTuple):
    """Executions of one check: those with an answer, and those that wait for one."""

    answered: list[AssetCheckExecutionRecord]
    seen: _Seen


@dataclass(frozen=True)
class FoundChecks:
    """What a walk found: how many checks failed, lines for the alert, and where to go on."""

    count: int
    lines: tuple[str, ...]
    cursor: str


def failed_checks(  # noqa: PLR0913 - where, whose, and four bounds
    instance: DagsterInstance, own: Own, cursor: str | None, *, started: float, latest: float, limit: int
) -> FoundChecks:
    """Evaluations of our checks that failed and were not seen yet.

    Left out is what the evaluation before it said already, or a run of the same day that failed earlier. What one run
    found of one asset and day is one line.

    Args:
        instance: Dagster's instance.
        own: which checks are ours.
        cursor: of the last walk; None begins with what failed after `started`.
        started: when the sensor was started, in seconds since 1970.
        latest: records of a later time wait, in seconds since 1970.
        limit: how many evaluations are looked at, of each check.

    Raises:
        CursorError: the cursor is not one of a walk.
    """
    before = _read(cursor, started)
    failed: list[AssetCheckExecutionRecord] = []
    after: dict[str, _Seen] = {}
    for key in own.checks:
        name = f"{key.asset_key.to_user_string()}:{key.name}"
        found = _unseen(instance, key, before.seen.get(name, _Seen()), before.since, latest, limit)
        after[name] = found.seen
        failed += [
            record
            for record in found.answered
            if record.status is _FAILED and _time(record) >= before.since and not _said(instance, record, before.since)
        ]
    groups = list(_groups(instance, own, failed, before.since))
    return FoundChecks(
        sum(len(group) for group in groups),
        tuple(_line(group) for group in groups),
        _CURSORS.dump_json(_Position(before.since, after)).decode(),
    )


def _read(cursor: str | None, started: float) -> _Position:
    if not cursor:
        return _Position(started, {})
    kept = read_cursor(_CURSORS, cursor)
    if isinstance(kept, int):
        return _Position(started, {})
    if isinstance(kept, dict):
        return _Position(0.0, {name: _Seen(last, rest) for name, (last, *rest) in kept.items()})
    return kept


def _unseen(  # noqa: PLR0913, PLR0917 - which records, between which bounds
    instance: DagsterInstance, key: AssetCheckKey, seen: _Seen, since: float, latest: float, limit: int
) -> _Executions:
    storage = instance.event_log_storage
    younger: list[AssetCheckExecutionRecord] = []
    position: int | None = None
    while page := storage.get_asset_check_execution_history(key, _PAGE, cursor=position):
        younger += [record for record in page if record.id > seen.last]
        position = page[-1].id
        if position <= seen.last or len(page) < _PAGE or page[-1].create_timestamp + _CLOCKS_DIFFER_BY_SECONDS < since:
            break
    # In the order of their numbers, so that the last one seen has none below it that still waits to settle.
    settled = list(takewhile(lambda record: record.create_timestamp <= latest, reversed(younger)))[:limit]
    older = [
        record
        for number in seen.unanswered
        for record in storage.get_asset_check_execution_history(key, 1, cursor=number + 1)
        if record.id == number
    ]
    records = [*older, *settled]
    waiting = [record for record in records if record.status is _PLANNED]
    runs = instance.get_runs(RunsFilter(run_ids=[record.run_id for record in waiting])) if waiting else []
    under_way = {run.run_id for run in runs if run.status not in FINISHED_STATUSES}
    return _Executions(
        [record for record in records if record.status in _ANSWERS],
        _Seen(
            max([seen.last, *(record.id for record in settled)]),
            [record.id for record in waiting if record.run_id in under_way],
        ),
    )


def _time(record: AssetCheckExecutionRecord) -> float:
    return record.create_timestamp if record.event is None else record.event.timestamp


def _evaluation(record: AssetCheckExecutionRecord) -> AssetCheckEvaluation:
    evaluation = record.evaluation
    if evaluation is None:
        raise LookupError(f"Dagster kept no evaluation of {record.key} in its record {record.id}")
    return evaluation


def _before(
    instance: DagsterInstance, record: AssetCheckExecutionRecord, since: float
) -> AssetCheckExecutionRecord | None:
    """The evaluation before this one, of the same day, if somebody was told of it."""
    earlier = instance.event_log_storage.get_asset_check_execution_history(
        record.key,
        1,
        cursor=record.id,
        status=_ANSWERS,
        partition_filter=PartitionKeyFilter(key=record.partition),
    )
    return next((before for before in earlier if _time(before) >= since), None)


def _said(instance: DagsterInstance, record: AssetCheckExecutionRecord, since: float) -> bool:
    """Whether the check said the same of the same day when it was last evaluated."""
    before = _before(instance, record, since)
    if before is None or before.status is not _FAILED:
        return False
    now, then = _evaluation(record), _evaluation(before)
    return (now.severity, problem_of(now)) == (then.severity, problem_of(then))


def _groups(
    instance: DagsterInstance, own: Own, failed: Iterable[AssetCheckExecutionRecord], since: float
) -> Iterator[list[AssetCheckExecutionRecord]]:
    """What one reading found: of one asset, one day, by one run."""
    readings: dict[tuple[AssetKey, str | None, str], list[AssetCheckExecutionRecord]] = {}
    for record in failed:
        # Without a run each evaluation is a reading of its own.
        run = record.run_id or f"#{record.id}"
        readings.setdefault((record.key.asset_key, record.partition, run), []).append(record)
    for reading in readings.values():
        fresh = [record for record in reading if not _told_of_a_run(instance, own, record, since)]
        # What could not be told because of the damage is no news where the damage is none.
        if len(fresh) < len(reading) and all(_is_untold(record) for record in fresh):
            continue
        yield fresh


def _is_untold(record: AssetCheckExecutionRecord) -> bool:
    return (_evaluation(record).description or "").startswith(UNTOLD)


def _told_of_a_run(instance: DagsterInstance, own: Own, record: AssetCheckExecutionRecord, since: float) -> bool:
    """Whether a run of that day failed with the same before, after the check had last passed."""
    if record.partition is None or not (problem := plain(problem_of(_evaluation(record)))):
        return False
    before = _before(instance, record, since)
    well = since if before is None else _time(before)
    runs = instance.get_run_records(
        RunsFilter(statuses=[DagsterRunStatus.FAILURE], tags={_PARTITION_TAG: record.partition}), limit=_RUNS_BEFORE
    )
    return any(
        any(problem in reason for reason in reasons_of_run(instance, own, run.dagster_run))
        for run in runs
        if run.dagster_run.run_id != record.run_id
        and run.end_time is not None
        and well < run.end_time < _time(record)
        and own.has(run.dagster_run)
    )


def _line(group: list[AssetCheckExecutionRecord]) -> str:
    """One line: the asset and day, then each problem with the checks that found it."""
    named: dict[tuple[str, str], list[str]] = {}
    for record in group:
        evaluation = _evaluation(record)
        said = evaluation.description or "failed"
        named.setdefault((evaluation.severity.value, said), []).append(evaluation.check_name)
    first = group[0]
    partition = f" of {first.partition}" if first.partition else ""
    severity = next(iter(named))[0]
    found = "; ".join(
        f"check{'' if len(names) == 1 else 's'} {', '.join(names)}: {said}" for (_, said), names in named.items()
    )
    return f"{severity}: {first.key.asset_key.to_user_string()}{partition}, {found}"
