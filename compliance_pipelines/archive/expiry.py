"""Removing archives whose retention is over.

Here: which parts are due, what must hold before one goes, and the order of the steps, each of which may be the last
before a kill. Whoever destroys verifies in its own body and stops when it cannot tell. Not here: what the ledger states
(ledger/expiries.py), which hold keeps a part (held_parts.py), keys of objects.

The order: the day's segments are proven to be in the signed, published ledger; no hold keeps the part, and none can be
added until this is over; the ledger states the expiry, and that is published; the key of the object is destroyed; every
version of object and manifest is deleted, those of revisions that it replaced before its own; `expired_at` and the
audit entry are recorded in one transaction. The next run finishes whatever was stated. The ledger's tiles stay, so that
what was proved remains provable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.catalogue import ArchivedPart, parts_of_day, segments_of_day
from compliance_pipelines.archive.errors import ExpiryRefusedError
from compliance_pipelines.archive.held_parts import HeldParts, look_into_part
from compliance_pipelines.archive.layout import MANIFEST_SUFFIX, PartKey, parse_key, part_root
from compliance_pipelines.archive.locking import lock_day
from compliance_pipelines.archive.parquet import UnreadableParquetError
from compliance_pipelines.archive.part_keys import ExpiredKeys
from compliance_pipelines.archive.self_audit import audit_log, expire_entry
from compliance_pipelines.audit_log.visibility import refuse_hidden_rows
from compliance_pipelines.encryption.errors import DataKeyError
from compliance_pipelines.holds import active_holds, holds_locked
from compliance_pipelines.ledger.anchor import check_anchor
from compliance_pipelines.ledger.anchored import check_anchored
from compliance_pipelines.ledger.expiries import Expiry, is_expiry
from compliance_pipelines.ledger.object_retention import retention_end
from compliance_pipelines.ledger.proven_records import proven_records
from compliance_pipelines.ledger.records import StatementKind
from compliance_pipelines.ledger.stating import state
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.object_store.port import ObjectMissingError, RefusedByStoreError
from compliance_pipelines.postgres.agreed_time import agreed_time
from compliance_pipelines.postgres.errors import passing_errors_as_transient
from compliance_pipelines.search_filters.catalogue import remove_filters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    import sqlalchemy

    from compliance_pipelines.archive.locking import DayLock
    from compliance_pipelines.holds import HoldSet
    from compliance_pipelines.ledger.records import Statement
    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.services import Services

_DOING: Final = "the expiry of archives"


class ExpiryStep(StrEnum):
    """What has just been done, in order, when the step hook is called; the last two are of each part."""

    PROVED = "proved"
    STATED = "stated"
    KEY_DESTROYED = "key_destroyed"
    OBJECT_DELETED = "object_deleted"
    MANIFEST_DELETED = "manifest_deleted"
    RECORDED = "recorded"
    COMMITTED = "committed"


class StepHook(Protocol):
    """Called after each step; whatever it raises undoes what was not committed."""

    def __call__(self, step: ExpiryStep, /) -> None:
        """`step` is done."""


def no_hook(step: ExpiryStep, /) -> None:
    """Let every step pass."""


class KeyDestroyer(Protocol):
    """Makes a part unreadable by destroying the key of its object, before the object goes."""

    def destroy(self, connection: sqlalchemy.Connection, part: ArchivedPart, /) -> None:
        """Destroy the key for good; done again it changes nothing.

        Args:
            connection: in a transaction that is committed afterwards.
            part: whose object.

        Raises:
            ComplianceError: it may still be there.
        """


@dataclass(frozen=True)
class PartOutlook:
    """Whether a part is due to be removed.

    Attributes:
        kept_because: why it is not; None where it is due.
    """

    part: ArchivedPart
    kept_because: str | None


@dataclass
class ExpiryResult:
    """What became of a day.

    Attributes:
        expired: the parts that were removed, as they were.
        kept: the others that have not expired, each with the reason.
    """

    day: date
    expired: list[ArchivedPart] = field(default_factory=list)
    kept: list[PartOutlook] = field(default_factory=list)

    @property
    def object_bytes(self) -> int:
        """Bytes of the objects that were removed."""
        return sum(part.object_bytes for part in self.expired)


def days_to_expire(services: Services, connection: sqlalchemy.Connection, now: datetime | None = None) -> list[date]:
    """The days with a part whose retention is over, oldest first, held or not.

    Args:
        services: the settings decide, and the clock where no time is given.
        connection: to the database.
        now: the moment; aware.
    """
    moment = services.clock() if now is None else now
    years = services.settings.audit_cold_storage_retention_years
    days = connection.execute(sql.DAYS_TO_EXPIRE, {"last": moment.date()}).scalars()
    return [day for day in days if retention_end(day, years) <= moment]


def due_to_expire(services: Services, connection: sqlalchemy.Connection) -> list[date]:
    """Those of them that have a part which no hold keeps, as far as one can tell without reading parts.

    Raises:
        ConfigurationError: entries call people by pseudonyms, and their key is missing.
        RowsHiddenError: holds may be hidden from the login.
    """
    days = days_to_expire(services, connection)
    if not days:
        return []
    held = HeldParts(services, connection, active_holds(connection))

    def goes(part: ArchivedPart) -> bool:
        hold = held.on_part(part)
        # Whether one that is held in doubt is due, only the run finds out, which reads it.
        return part.expired_at is None and part.purged_at is not None and (hold is None or hold.unread)

    return [day for day in days if any(goes(part) for part in parts_of_day(connection, day))]


def outlook(services: Services, day: date) -> list[PartOutlook]:
    """What an expiry of a day would remove now, and why not the rest. Nothing is read of parts, and nothing changed.

    Raises:
        ClocksDisagreeError: worker, database and store do not agree on the time.
        LedgerError: the store is not the database's.
        ObjectStoreError: the store cannot tell.
        RowsHiddenError: rows may be hidden from the login.
    """
    with services.engine.connect() as connection:
        check_identity(services, connection)
        refuse_hidden_rows(connection)
        now = _agreed(services, connection)
        held = HeldParts(services, connection, active_holds(connection))
        parts = [part for part in parts_of_day(connection, day) if part.expired_at is None]
        return [PartOutlook(part, _kept_because(services, part, held, now)) for part in parts]


def expire_day(
    services: Services, day: date, *, keys: KeyDestroyer | None = None, hook: StepHook = no_hook
) -> ExpiryResult:
    """Remove the parts of a day whose retention is over and which nothing keeps.

    Args:
        services: the opened services, with the signing key.
        day: the UTC day.
        keys: destroys the keys of objects; None: as part_keys.py does.
        hook: called after each step.

    Returns:
        What was removed, and what is kept and why: a hold, a lock, a retention that is not over.

    Raises:
        ClocksDisagreeError: worker, database and store do not agree on the time.
        LedgerError: the store is not the database's, or its segments are not those of the signed ledger.
        ExpiryRefusedError: something differs. Nothing was removed.
        RowsHiddenError: rows may be hidden from the login.
        ObjectStoreError: the store failed; the next run goes on.
        TransientError: another process works on the day or seals, a new hold waits, or the connection was lost.
    """
    with passing_errors_as_transient(_DOING, services.engine), lock_day(services.engine, day) as lock:
        return _Expiring(services, lock, day, keys or ExpiredKeys(services.store), hook).run()


def _agreed(services: Services, connection: sqlalchemy.Connection) -> datetime:
    return agreed_time(
        connection,
        clock=services.clock,
        settings=services.settings,
        store="the cold store",
        store_time=services.store.now,
    )


def _kept_because(services: Services, part: ArchivedPart, held: HeldParts, now: datetime) -> str | None:
    if part.purged_at is None:
        return "its entries are still in PostgreSQL"
    years = services.settings.audit_cold_storage_retention_years
    end = retention_end(part.day, years)
    if end > now:
        return f"it is kept for {years} years (AUDIT_COLD_STORAGE_RETENTION_YEARS), until {end:%Y-%m-%d}"
    if (hold := held.on_part(part)) is not None:
        return f"{hold}"
    return _kept_by_store(services, part)


def _kept_by_store(services: Services, part: ArchivedPart) -> str | None:
    """What keeps an object in the store itself."""
    store = services.store.at_versions(part.versions)
    for key in _all_keys(services, part):
        try:
            until = store.locked_until(key)
            if until is not None:
                return f"{key} is still locked until {until:%Y-%m-%d %H:%M:%S} UTC"
            if store.has_hold(key):
                return (
                    f"the cold store itself holds {key}: `compliance hold sync` lets go of it if it was held by our "
                    "order, else whoever ordered it does"
                )
        except ObjectMissingError:
            continue  # an interrupted expiry has removed it, or it is damage, which the verification tells
    return None


def _all_keys(services: Services, part: ArchivedPart) -> list[str]:
    """The keys of all revisions of a part, objects first, those that the catalogue has last of each kind."""
    listed = services.store.list(PartKey.of(part.day, part.part, part.root).family_prefix)
    found = {info.key for info in listed if parse_key(info.key) is not None} - {part.object_key, part.manifest_key}
    manifests = sorted(key for key in found if key.endswith(MANIFEST_SUFFIX))
    return [*sorted(found - {*manifests}), part.object_key, *manifests, part.manifest_key]


def _missing_object(services: Services, part: ArchivedPart) -> str | None:
    """The first of the part's keys that has no object."""
    store = services.store.at_versions(part.versions)
    return next((key for key in (part.object_key, part.manifest_key) if store.stat(key) is None), None)


class _Expiring:
    """One run over one day, under its lock."""

    def __init__(self, services: Services, lock: DayLock, day: date, keys: KeyDestroyer, hook: StepHook) -> None:
        self._services = services
        self._lock = lock
        self._connection = lock.connection
        self._day = day
        self._keys = keys
        self._hook = hook
        self._result = ExpiryResult(day)

    def run(self) -> ExpiryResult:
        services = self._services
        with self._connection.begin():
            check_identity(services, self._connection)
            refuse_hidden_rows(self._connection)
            now = _agreed(services, self._connection)
            parts = [part for part in parts_of_day(self._connection, self._day) if part.expired_at is None]
            due = [part for part in parts if self._is_over(part, now)]
            if due:
                self._prove(due)
        self._hook(ExpiryStep.PROVED)
        self._look_into(due)
        # On a connection of its own, whose lock keeps new holds waiting until everything is removed that goes.
        with services.engine.connect() as holding, holds_locked(holding) as holds:
            known = self._stated() if due else {}
            going = self._without_kept(parts, now, holds, known)
            if going:
                stated = self._state(going, known)
                for part in going:
                    self._remove(part, stated[part.part])
        return self._result

    def _refuse(self, why: str) -> ExpiryRefusedError:
        return ExpiryRefusedError(f"{self._day} did not expire: {why}. Nothing was removed")

    def _is_over(self, part: ArchivedPart, now: datetime) -> bool:
        years = self._services.settings.audit_cold_storage_retention_years
        return part.purged_at is not None and retention_end(self._day, years) <= now

    def _prove(self, due: Sequence[ArchivedPart]) -> None:
        """Let the day pass if the signed, published ledger has its segments, and these are those of the parts."""
        segments = segments_of_day(self._connection, self._day)
        check_anchored(self._services, self._connection, self._day, [segment for segment, _ in segments])
        for part in due:
            held = [segment for segment, number in segments if number == part.part]
            entries = sum(segment.entry_count for segment in held)
            if not held or part_root(held) != part.root or entries != part.entry_count:
                raise self._refuse(
                    f"the segments that are recorded in part {part.part} do not lead to its root; run `compliance "
                    f"verify {self._day}`"
                )

    def _look_into(self, due: Sequence[ArchivedPart]) -> None:
        """Read what nobody has read for a hold on a person or a conversation; what cannot be read stays held."""
        with self._services.engine.connect() as connection:
            held = HeldParts(self._services, connection, active_holds(connection))
            unread = [(part, holds) for part in due if (holds := held.unread(part))]
        for part, holds in unread:
            try:
                look_into_part(self._services, part, holds)
            except (ObjectMissingError, UnreadableParquetError, DataKeyError):
                continue

    def _without_kept(
        self, parts: Sequence[ArchivedPart], now: datetime, holds: HoldSet, stated: Mapping[int, Statement]
    ) -> list[ArchivedPart]:
        going = []
        with self._services.engine.connect() as connection:
            held = HeldParts(self._services, connection, holds)
            for part in parts:
                missing = _missing_object(self._services, part)
                if part.part in stated and missing == part.object_key and self._is_over(part, now):
                    # An earlier run has removed it: there is nothing left that a hold could keep.
                    going.append(part)
                    continue
                why = _kept_because(self._services, part, held, now) or self._damage(part, missing, stated)
                if why is None:
                    going.append(part)
                else:
                    self._result.kept.append(PartOutlook(part, why))
        return going

    def _damage(self, part: ArchivedPart, missing: str | None, stated: Mapping[int, Statement]) -> str | None:
        """What must be found out before: a part that somebody took away has not expired."""
        if missing is not None and part.part not in stated:
            return f"{missing} is not there, and no expiry has removed it: run `compliance verify {part.day}`"
        return None

    def _stated(self) -> dict[int, Statement]:
        """What the signed, published ledger states of parts of this day, by number; the database is not believed."""
        with self._services.engine.connect() as connection:
            newest = check_anchor(self._services, connection).head
            proven = proven_records(connection, [self._day], {newest.size: newest.root})
        stated = [(record, Expiry.of(record)) for record in proven.statements if is_expiry(record)]
        return {expiry.part: statement for statement, expiry in stated if expiry.day == self._day}

    def _state(self, going: Sequence[ArchivedPart], known: Mapping[int, Statement]) -> Mapping[int, Statement]:
        """Have the ledger state, and publish, that these parts expire; those of which it does already are left out."""
        with self._services.engine.connect() as connection:
            segments = segments_of_day(connection, self._day)
        new = [part for part in going if part.part not in known]
        self._lock.ensure_held()

        def bodies(at: datetime) -> list[bytes]:
            years = self._services.settings.audit_cold_storage_retention_years
            if retention_end(self._day, years) > at:
                # The clock that decides may be moved on the embedded stack; what is on record is never.
                raise self._refuse(f"by the database's time its retention is not over, {years} years after the day")
            return [
                self._expiry(part, [segment for segment, number in segments if number == part.part]).to_body()
                for part in new
            ]

        state(self._services, StatementKind.EXPIRY, bodies, doing=f"the expiry of {self._day}")
        self._hook(ExpiryStep.STATED)
        return self._stated()

    def _expiry(self, part: ArchivedPart, segments: Sequence[Segment]) -> Expiry:
        return Expiry(
            day=part.day,
            part=part.part,
            years=self._services.settings.audit_cold_storage_retention_years,
            entries=part.entry_count,
            object_bytes=part.object_bytes,
            first_seq=segments[0].seq,
            last_seq=segments[-1].seq,
            segments=len(segments),
            root=part.root,
            object_sha256=bytes.fromhex(part.object_sha256),
        )

    def _remove(self, part: ArchivedPart, statement: Statement) -> None:
        services = self._services
        if Expiry.of(statement).root != part.root:
            raise self._refuse(f"record {statement.seq} of the ledger states it of another part {part.part}")
        self._lock.ensure_held()
        with services.engine.begin() as connection:
            self._keys.destroy(connection, part)
        self._hook(ExpiryStep.KEY_DESTROYED)
        keys = _all_keys(services, part)
        steps = {part.object_key: ExpiryStep.OBJECT_DELETED, part.manifest_key: ExpiryStep.MANIFEST_DELETED}
        for key in keys:
            try:
                services.store.delete(key)
            except RefusedByStoreError as error:
                self._result.kept.append(PartOutlook(part, _kept_by_store(services, part) or str(error)))
                return
            if key in steps:
                self._hook(steps[key])
        with services.engine.begin() as connection:
            marked = connection.execute(sql.MARK_EXPIRED, {"day": part.day, "part": part.part}).rowcount
            if marked != 1:
                raise ExpiryRefusedError(
                    f"part {part.part} of {part.day} left the cold store, and the catalogue has it in another state "
                    f"than a moment ago: run `compliance verify {part.day}`"
                )
            for key in keys:
                connection.execute(sql.STORE_HOLD_IS_LIFTED, {"key": key})
            remove_filters(connection, keys)
            years = Expiry.of(statement).years
            audit_log(services).append_within(connection, expire_entry(services, part, statement, years=years))
            self._hook(ExpiryStep.RECORDED)
        self._hook(ExpiryStep.COMMITTED)
        self._result.expired.append(part)
