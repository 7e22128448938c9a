"""Dagster concept: asset checks. What is looked at so that a person sees it and is told.

Here: checks of a day, which block what comes after them in the same run, and checks of the whole, which a schedule
evaluates daily. Each reads for itself what it judges, whether it runs after its asset or alone. Not here: any
safeguard; what destroys data verifies in its own body.
"""

# No postponed annotations: Dagster compares them with its classes.

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Final

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    PreviewWarning,
    ResourceParam,
    TextMetadataValue,
    asset_check,
    multi_asset_check,
)

from compliance_pipelines.archive.catalogue import (
    DayFacts,
    facts_of_day,
    parts_of_day,
    segments_of_day,
    segments_of_part,
)
from compliance_pipelines.archive.part_keys import verify_keys
from compliance_pipelines.archive.readback import ColdArchive, PartCheck, Question, check_part
from compliance_pipelines.archive.sealed_rows import SealedRows
from compliance_pipelines.archive.store_holds import compare_store_holds
from compliance_pipelines.audit_log.partitions import SLOW_PURGE_ENTRIES, began_without_table, runway, strays
from compliance_pipelines.audit_log.quarantine import quarantine_total
from compliance_pipelines.audit_log.reading import read_rows
from compliance_pipelines.audit_log.sequence import sequence_went_back
from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.ledger.anchor import check_anchor
from compliance_pipelines.ledger.clusters import check_cluster
from compliance_pipelines.ledger.lag import sealing_lag
from compliance_pipelines.ledger.outside import Look, look_at_stamps, look_at_witnesses
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.ledger.store import last_checkpoint
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.object_store.trials import store_trials
from compliance_pipelines.orchestration.backlog import Action, hidden_days, overdue_days
from compliance_pipelines.orchestration.day_events import hot_event
from compliance_pipelines.orchestration.failures import RETRIES, domain_errors, is_passing
from compliance_pipelines.orchestration.keys import (
    ARCHIVE_KEYS,
    CHECKSUM,
    COLD_STORE,
    CONTENT,
    DATABASE_POOL,
    ENTRY_COUNT,
    HOT_PARTITION,
    MANIFEST_SIGNATURE,
    NO_DAY_TO_ARCHIVE_OVERDUE,
    NO_DAY_TO_PURGE_OVERDUE,
    NO_LARGE_DAY_IN_DEFAULT_PARTITIONS,
    READ_BACK,
    ROWS_MATCH_LEDGER,
    RUNWAY,
    SCHEMA,
    SEALING,
    SEALING_LAG,
    STORE_HOLDS_AS_OURS,
    TIME_STAMPS,
    WITNESSES,
)
from compliance_pipelines.orchestration.names import Names
from compliance_pipelines.orchestration.partition_bar import (
    NO_DAY_WAS_CHOSEN,
    looking_at,
    show_failed,
    show_repaired,
)
from compliance_pipelines.orchestration.partitions import DAYS, FIRST_DAY, day_of
from compliance_pipelines.orchestration.tables import Metadata
from compliance_pipelines.postgres.holders import stuck_holders
from compliance_pipelines.postgres.locks import SEALING_LOCK
from compliance_pipelines.postgres.open_transactions import (
    in_words,
    open_transactions,
    prepared_transactions,
    remedies,
)
from compliance_pipelines.services import Services

_DAYS_NAMED: Final = 10
# Two days in which somebody can find out why the daily upkeep does not make more.
_RUNWAY_DAYS: Final = 2
_PROBLEM: Final = "problem"


@dataclass(frozen=True)
class Verdict:
    """What a check found: nothing wrong, or what is."""

    problem: str | None
    summary: str
    metadata: Metadata = field(default_factory=dict)
    severity: AssetCheckSeverity = AssetCheckSeverity.ERROR
    remedy: str | None = None

    @property
    def description(self) -> str:
        """What a person reads: what is wrong and what to do, or that all is well."""
        if self.problem is None:
            return self.summary
        return self.problem if self.remedy is None else f"{self.problem}; {self.remedy}"

    @property
    def fails(self) -> bool:
        """Whether something is wrong that is more than a warning."""
        return self.problem is not None and self.severity is AssetCheckSeverity.ERROR

    def named(self, names: Names) -> "Verdict":
        """The verdict in words that name jobs and sensors as they are called here."""
        problem, remedy = (None if each is None else names.text(each) for each in (self.problem, self.remedy))
        return replace(self, problem=problem, remedy=remedy, summary=names.text(self.summary))

    def evaluation(self, key: AssetCheckKey) -> AssetCheckEvaluation:
        """The verdict as Dagster records it without a run."""
        return AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=self.problem is None,
            description=self.description,
            metadata=self._metadata(),
            severity=self.severity,
        )

    def result(self, check_name: str | None = None) -> AssetCheckResult:
        """The verdict as Dagster records it in a run, which knows the asset, and the check where it is one alone."""
        return AssetCheckResult(
            check_name=check_name,
            passed=self.problem is None,
            description=self.description,
            metadata=self._metadata(),
            severity=self.severity,
        )

    def _metadata(self) -> Metadata:
        return dict(self.metadata) if self.remedy is None else {**self.metadata, _PROBLEM: self.problem or ""}


def problem_of(evaluation: AssetCheckEvaluation) -> str | None:
    """What a check that failed found, without what it advises."""
    problem = evaluation.metadata.get(_PROBLEM)
    return problem.value if isinstance(problem, TextMetadataValue) else evaluation.description


@contextmanager
def _partitioned_checks() -> Iterator[None]:
    # Dagster calls partitions of checks a preview. They are what this project needs; the version is pinned, and the
    # tests would show a change.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*partitions_def", category=PreviewWarning)
        yield


# Checks of a day

TO_LOOK_AGAIN: Final = (
    "To look at a day again, materialize its partition on the page of the asset (with its checks), or launch the job "
    "`day_checks` for the day with `dagster job launch`: Dagster's own buttons for checks know no days."
)

with _partitioned_checks():

    @multi_asset_check(
        name="audit__hot_partition_rows_match_ledger",
        specs=[
            AssetCheckSpec(
                ROWS_MATCH_LEDGER.name,
                asset=ROWS_MATCH_LEDGER.asset_key,
                description="Every sealed row of the day is in PostgreSQL as it was sealed, unless it was purged; none "
                f"was slipped in. Reads all rows of the day. {TO_LOOK_AGAIN}",
                blocking=True,
                partitions_def=DAYS,
            )
        ],
        can_subset=True,
        retry_policy=RETRIES,
        pool=DATABASE_POOL,
    )
    def rows_match_ledger(
        context: AssetCheckExecutionContext,
        compliance_services: ResourceParam[Services],
        compliance_names: ResourceParam[Names],
    ) -> Iterator[AssetCheckResult]:
        """A run without a day looks at nothing, and records no result."""
        run = context.op_execution_context
        if not run.has_partition_key:
            context.log.warning(compliance_names.text(NO_DAY_WAS_CHOSEN))
            return
        day, asset = day_of(run.partition_key), compliance_names.asset(HOT_PARTITION)
        with looking_at(run, asset):
            verdict = _hot_verdict(compliance_services, day)
        if verdict.fails:
            show_failed(run, asset)
        else:
            show_repaired(run, asset, lambda: hot_event(compliance_services, day, compliance_names.asset))
        yield verdict.result()


@dataclass(frozen=True)
class _HotDay:
    """What must be in PostgreSQL of a day: these segments, all of them with transaction ids below the horizon."""

    segments: tuple[Segment, ...]
    horizon: int


def _hot_day(services: Services, day: date) -> _HotDay:
    with services.engine.connect() as connection:
        checkpoint = last_checkpoint(connection)
        horizon = checkpoint.tx_horizon if checkpoint else 0
        purged = {part.part for part in parts_of_day(connection, day) if part.purged_at is not None}
        segments = tuple(
            segment
            for segment, part in segments_of_day(connection, day)
            if part not in purged and segment.tx_to <= horizon
        )
    return _HotDay(segments, horizon)


def _hot_rows(services: Services, day: date, hot: _HotDay) -> SealedRows:
    rows = SealedRows(hot.segments)
    with read_rows(services.engine, day=day, tx_to=hot.horizon) as batches:
        for batch in batches:
            rows.feed(batch)
    return rows


def _hot_verdict(services: Services, day: date) -> Verdict:
    hot = _hot_day(services, day)
    rows = _hot_rows(services, day, hot)
    differences = rows.differences()
    if differences and (now := _hot_day(services, day)).segments != hot.segments:
        # The day was purged while it was read: no reason to cry out.
        hot, rows = now, _hot_rows(services, day, now)
        differences = rows.differences()
    found = "; ".join(difference.message for difference in differences)
    return Verdict(
        problem=found or None,
        remedy=f"run `compliance verify {day}` and find out who did it" if found else None,
        summary=f"{_count(rows.rows, 'row')} in {_count(len(hot.segments), 'segment')}, as sealed.",
        metadata={"rows": rows.rows, "segments": len(hot.segments), "bytes hashed": rows.canonical_bytes},
    )


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


_READ_BACK: Final = {
    MANIFEST_SIGNATURE: "Each manifest is there, signed by the key in use, and says what catalogue and ledger say.",
    CHECKSUM: "Each object's bytes have the SHA-256 that its manifest commits.",
    SCHEMA: "Each object has the columns of an audit archive.",
    ENTRY_COUNT: "Each object holds as many entries as were sealed.",
    CONTENT: "Each segment's root, recomputed from the rows of the object, is the one in the ledger.",
}


def read_back_specs() -> list[AssetCheckSpec]:
    """The checks of an archive, which its asset evaluates with one reading of the day's parts."""
    with _partitioned_checks():
        return [
            AssetCheckSpec(
                key.name,
                asset=key.asset_key,
                description=f"{description} {TO_LOOK_AGAIN}",
                blocking=True,
                partitions_def=DAYS,
            )
            for key, description in _READ_BACK.items()
        ]


_QUESTIONS: Final = {
    MANIFEST_SIGNATURE: Question.MANIFEST,
    CHECKSUM: Question.CHECKSUM,
    SCHEMA: Question.SCHEMA,
    ENTRY_COUNT: Question.ENTRY_COUNT,
    CONTENT: Question.CONTENT,
}


def cold_verdicts(services: Services, day: date) -> Mapping[str, Verdict]:
    """What reading back every part of the day says, by the names of the checks.

    A check whose question could not be reached fails too.

    Raises:
        LedgerError: the store is not the database's.
        ObjectStoreError: the store failed.
    """
    with services.engine.connect() as connection:
        check_identity(services, connection)
        facts = facts_of_day(connection, day)
        parts = [part for part in parts_of_day(connection, day) if part.expired_at is None]
        segments = {part.part: segments_of_part(connection, part) for part in parts}
    if not facts.parts:
        return dict.fromkeys((key.name for key in READ_BACK), _nothing_archived(facts))
    archive = ColdArchive.of(services)
    read = [check_part(archive, part, segments[part.part]) for part in parts]
    entries = sum(part.entry_count for part in read)
    metadata: Metadata = {"parts": len(read), "entries": entries, "bytes": sum(part.object_bytes for part in read)}
    answers = [_answers(part) for part in read]
    return {
        key.name: Verdict(
            problem="; ".join(message for part in answers for message in part[question]) or None,
            summary=f"{_count(len(read), 'part')} with {entries:,} entries read back.",
            metadata=metadata,
        )
        for key, question in _QUESTIONS.items()
    }


def _nothing_archived(facts: DayFacts) -> Verdict:
    if not facts.sealed_entries:
        return Verdict(None, "Nothing was sealed on this day, so there is nothing to archive.")
    return Verdict("the day is not archived yet", "", severity=AssetCheckSeverity.WARN)


UNTOLD: Final = "cannot be told"


def _answers(part: PartCheck) -> Mapping[Question, Sequence[str]]:
    """What is wrong with a part, question by question.

    An object is read step by step. What is wrong with an early one leaves the later questions without an answer, and a
    question without an answer is a failure too.
    """
    answers = {
        question: [found.message for found in part.findings if found.question is question] for question in Question
    }
    stopped = False
    for question, messages in answers.items():
        if stopped and not messages:
            messages.append(f"{UNTOLD}: part {part.part} could not be read that far")
        stopped = stopped or (question is not Question.MANIFEST and bool(messages))
    return answers


# Checks of the whole


def _health_check(key: AssetCheckKey, description: str, judge: Callable[[Services], Verdict]) -> AssetChecksDefinition:
    @asset_check(asset=key.asset_key, name=key.name, description=description, retry_policy=RETRIES, pool=DATABASE_POOL)
    def health_check(
        compliance_services: ResourceParam[Services], compliance_names: ResourceParam[Names]
    ) -> AssetCheckResult:
        with domain_errors():
            return judge(compliance_services).named(compliance_names).result()

    return health_check


def _archive_overdue(services: Services) -> Verdict:
    hidden = hidden_days(services)
    if not hidden:
        return _overdue(Action.ARCHIVE)(services)
    days = _count(len(hidden), "day")
    return Verdict(
        f"more waits to be archived of {days} than archive_backlog counts, so that no run would be asked for: "
        f"{_named(hidden)}",
        "",
        metadata={"hidden days": len(hidden)},
        remedy="find out who altered archive_backlog, run `compliance verify --all`, and then, as a superuser: "
        "SELECT audit_recount_backlog();",
    )


def _overdue(action: Action) -> Callable[[Services], Verdict]:
    def judge(services: Services) -> Verdict:
        days = overdue_days(services, action)
        problem = f"{_count(len(days), 'day')} should have been {action}d a day ago: {_named(days)}"
        if early := [day for day in days if day < FIRST_DAY]:
            problem += (
                f"; Dagster's days begin with {FIRST_DAY} and leave out {_named(early)}: set AUDIT_LOG_FIRST_DAY to "
                f"{early[0]} or earlier and start Dagster again, or use `compliance {action} DAY`"
            )
        return Verdict(
            problem=problem if days else None,
            summary=f"No day waits to be {action}d for more than a day.",
            metadata={"overdue days": len(days)},
        )

    return judge


def _named(days: Sequence[date]) -> str:
    named = ", ".join(day.isoformat() for day in days[:_DAYS_NAMED])
    return named if len(days) <= _DAYS_NAMED else f"{named} and {len(days) - _DAYS_NAMED} more"


def _no_large_day_in_default_partitions(services: Services) -> Verdict:
    with services.engine.connect() as connection:
        found = strays(connection)
    slow = "; ".join(
        f"{stray.partition} holds {_count(stray.largest_day_count, 'entry', 'entries')} of {stray.largest_day}"
        for stray in found
        if stray.largest_day_count >= SLOW_PURGE_ENTRIES
    )
    entries = sum(stray.count for stray in found)
    return Verdict(
        problem=f"{slow}: purging such a day takes minutes, because its rows are deleted one by one" if slow else None,
        summary=f"{_count(entries, 'entry', 'entries')} of days without a table of their own."
        if found
        else "Every entry is in the table of its day.",
        metadata={"entries": entries, **{stray.partition: stray.count for stray in found}},
        severity=AssetCheckSeverity.WARN,
    )


def _runway(services: Services) -> Verdict:
    with services.engine.connect() as connection:
        today = utc_day(services.clock())
        ahead = runway(connection, today)
        late = began_without_table(connection, today)
    if late:
        return Verdict(
            None, "Partitions exist from tomorrow on; today is in a default partition.", {"days ahead": ahead}
        )
    return Verdict(
        problem=f"partitions exist for {ahead} days ahead only; run the job `partition_upkeep`"
        if ahead < _RUNWAY_DAYS
        else None,
        summary=f"Partitions exist for the next {ahead} days.",
        metadata={"days ahead": ahead},
    )


def sealing_verdict(services: Services) -> Verdict:
    """Whether the next pass could seal: what the database, the cold store and the lock of sealing say."""
    try:
        with services.engine.connect() as connection:
            check_cluster(connection)
            check_identity(services, connection)
            check_anchor(services, connection)
            quarantined, sequence = quarantine_total(connection), sequence_went_back(connection)
            most = timedelta(seconds=services.settings.ledger_seal_max_lag_seconds)
            prepared = prepared_transactions(connection, longer_than=most)
            stuck_after = timedelta(seconds=services.settings.ledger_seal_max_busy_seconds)
            stuck = stuck_holders(connection, SEALING_LOCK, stuck_after)
    except ComplianceError as error:
        if is_passing(error):
            raise
        return Verdict(str(error), "")
    problems = [str(problem) for problem in (quarantined, sequence) if problem is not None]
    problems += [f"the lock of sealing is held by what does nothing: {holder}: {holder.remedy}" for holder in stuck]
    if prepared:
        problems.append(f"{in_words(prepared)}: {remedies(prepared)}")
    return Verdict(
        "; ".join(problems) or None,
        "The database and the cold store tell the same story.",
        metadata={"quarantined entries": 0 if quarantined is None else quarantined.entries},
    )


def sealing_lag_verdict(services: Services) -> Verdict:
    """Whether the oldest unsealed entry is younger than LEDGER_SEAL_MAX_LAG_SECONDS; its age in seconds is metadata."""
    most = timedelta(seconds=services.settings.ledger_seal_max_lag_seconds)
    with services.engine.connect() as connection:
        lag = sealing_lag(connection, services.clock()) or timedelta()
        open_for_long = open_transactions(connection, longer_than=most) if lag > most else []
    seconds = round(lag.total_seconds(), 3)
    oldest = f"the oldest unsealed entry was written {seconds:,.0f} seconds ago"
    remedy = f"{oldest}: see whether the sensor `sealing` is on and what its ticks say"
    if open_for_long:
        remedy = f"{remedy}; {in_words(open_for_long)}: {remedies(open_for_long)}"
    late = f"entries wait for longer than the {most.total_seconds():,.0f} seconds of LEDGER_SEAL_MAX_LAG_SECONDS"
    return Verdict(
        problem=late if lag > most else None,
        remedy=remedy if lag > most else None,
        summary=f"{oldest.capitalize()}." if lag else "Everything is sealed.",
        metadata={"lag seconds": seconds},
    )


def witnesses_verdict(services: Services) -> Verdict:
    """Whether witnesses have seen the ledger in time; who has not is asked."""
    return _outside_verdict(lambda: look_at_witnesses(services), "No witnesses are configured (LEDGER_WITNESSES).")


def time_stamps_verdict(services: Services) -> Verdict:
    """Whether the ledger's days have time stamps in time; one that is missing is asked for."""
    return _outside_verdict(lambda: look_at_stamps(services), "No authority is configured (LEDGER_TSA_URL).")


def _outside_verdict(look: Callable[[], Look], nobody: str) -> Verdict:
    try:
        seen = look()
    except ComplianceError as error:
        if is_passing(error):
            raise
        return Verdict(str(error), "")
    told: Metadata = {"not had": "; ".join(seen.told)} if seen.told else {}
    if seen.problem:
        return Verdict(
            seen.problem, "", told, remedy="see what `compliance ledger witness` says, and docs/operations.md"
        )
    return Verdict(None, nobody if seen.state is None else f"{seen.state}.", told)


def cold_store_verdict(services: Services) -> Verdict:
    """Whether each promise of the cold store that can be tried is kept."""
    checks = store_trials(services.store, services.settings.audit_cold_storage_retention_years)
    broken = [check for check in checks if check.fails]
    return Verdict(
        "; ".join(f"{check.name}: {check.message}" for check in broken) or None,
        f"{_count(sum(check.ok for check in checks), 'promise')} tried and kept.",
        metadata={f"risk: {check.name}": check.message for check in checks if check.is_risk},
        remedy="; ".join(check.remedy for check in broken if check.remedy) or None,
    )


def archive_keys_verdict(services: Services) -> Verdict:
    """Whether the key of every archive is on record in the cold store and in the catalogue, and can be unwrapped."""
    report = verify_keys(services)
    shown = "; ".join(problem.message for problem in report.problems[:_DAYS_NAMED])
    more = len(report.problems) - _DAYS_NAMED
    repairable = any(problem.can_be_repaired for problem in report.problems)
    return Verdict(
        (shown + (f"; and {more} more" if more > 0 else "")) or None,
        f"{_count(report.intact, 'key')} on record twice, {report.destroyed:,} destroyed.",
        metadata={f"wrapped by {reference}": count for reference, count in report.wrapped_by.items()},
        remedy="run `compliance keys verify --repair`" if repairable else "see docs/encryption.md",
    )


def store_holds_verdict(services: Services) -> Verdict:
    """Whether the cold store holds what our holds touch, and nothing else; what others hold is a warning."""
    try:
        found = compare_store_holds(services)
    except ComplianceError as error:
        if is_passing(error):
            raise
        return Verdict(str(error), "")
    if not found.knows_holds:
        return Verdict(None, "The cold store knows no holds: this project alone keeps what a legal hold covers.")
    told = (
        (found.unheld, "a legal hold touches {}, and the cold store does not hold them"),
        (found.left, "the cold store holds {} by our order, and no legal hold touches them any more"),
        (found.others, "the cold store holds {} by an order that is not ours, and no legal hold touches them"),
    )
    problems = [f"{words.format(_count(len(keys), 'object'))}: {_named_keys(keys)}" for keys, words in told if keys]
    if found.unknown:
        problems.append(f"it cannot be told of {_count(len(found.unknown), 'object')}: {found.unknown[0]}")
    advice = []
    if found.unheld or found.left:
        advice.append("run `compliance hold sync`")
    if found.others:
        advice.append("find out who holds what no legal hold touches; nobody here lets go of it")
    ours = bool(found.unheld or found.left or found.unknown)
    return Verdict(
        "; ".join(problems) or None,
        f"{_count(found.held, 'object')} of {found.compared:,} held, each as a legal hold has it.",
        metadata={
            "objects": found.compared,
            "held": found.held,
            "held here alone": len(found.unheld),
            "held by others": len(found.others),
        },
        severity=AssetCheckSeverity.ERROR if ours else AssetCheckSeverity.WARN,
        remedy="; ".join(advice) or None,
    )


def _named_keys(keys: Sequence[str]) -> str:
    named = ", ".join(keys[:_DAYS_NAMED])
    return named if len(keys) <= _DAYS_NAMED else f"{named} and {len(keys) - _DAYS_NAMED} more"


CHECKS: Final = (
    rows_match_ledger,
    _health_check(
        NO_DAY_TO_ARCHIVE_OVERDUE,
        "No day waits to be archived for more than a day, and none waits unseen.",
        _archive_overdue,
    ),
    _health_check(NO_DAY_TO_PURGE_OVERDUE, "No day waits to be purged for more than a day.", _overdue(Action.PURGE)),
    _health_check(
        NO_LARGE_DAY_IN_DEFAULT_PARTITIONS,
        "No day in a default partition is so large that its purge is slow.",
        _no_large_day_in_default_partitions,
    ),
    _health_check(RUNWAY, "Partitions exist for the days to come.", _runway),
    _health_check(SEALING, "Nothing stands in the way of the next sealing pass.", sealing_verdict),
    _health_check(SEALING_LAG, "What is appended is sealed in time.", sealing_lag_verdict),
    _health_check(WITNESSES, "As many witnesses as must agree have seen the ledger lately.", witnesses_verdict),
    _health_check(TIME_STAMPS, "The last checkpoint of each day has a time stamp.", time_stamps_verdict),
    _health_check(
        COLD_STORE,
        "The cold store keeps what is relied on: objects are put once, replaced by compare and swap, listed whole; in "
        "a bucket versions, locks that nobody shortens, checksums.",
        cold_store_verdict,
    ),
    _health_check(
        ARCHIVE_KEYS,
        "The key of each archive is on record in the cold store and in the catalogue, and can be unwrapped.",
        archive_keys_verdict,
    ),
    _health_check(
        STORE_HOLDS_AS_OURS,
        "The cold store itself holds every object that a legal hold touches, and none that it does not.",
        store_holds_verdict,
    ),
)
