"""Legal holds of the cold store itself: set on the objects of the parts that our holds touch, and lifted after them.

Here: bringing the store in line with our record, step by step, and comparing the two. Not here: which hold keeps a part
(held_parts.py), how a store holds (object_store).

Our record comes first: a hold is in force when its row is committed, and the store is told afterwards. What we told it
has a row of its own, made before it is told and removed after it was told otherwise, so that whoever is killed in
between is finished by the next run. What the store holds without such a row is somebody else's, and is left to them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.catalogue import ArchivedPart, all_parts
from compliance_pipelines.archive.held_parts import HeldParts, look_into_part
from compliance_pipelines.archive.layout import parse_key
from compliance_pipelines.archive.parquet import UnreadableParquetError
from compliance_pipelines.archive.self_audit import audit_log, store_hold_entry
from compliance_pipelines.audit_log.visibility import refuse_hidden_rows_of
from compliance_pipelines.encryption.errors import DataKeyError
from compliance_pipelines.holds import active_holds, lock_holds
from compliance_pipelines.ledger.store_identity import IDENTITY_KEY, check_identity
from compliance_pipelines.object_store.port import ObjectMissingError
from compliance_pipelines.postgres import tables
from compliance_pipelines.postgres.errors import passing_errors_as_transient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import sqlalchemy

    from compliance_pipelines.archive.manifest import Manifest
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.services import Services

_DOING: Final = "the holds of the cold store"


class HoldStep(StrEnum):
    """What has just been done with a part when the step hook is called."""

    INTENDED = "intended"
    SET = "set"
    SET_RECORDED = "set_recorded"
    LIFTED = "lifted"
    LIFT_RECORDED = "lift_recorded"
    READ = "read"


class StepHook(Protocol):
    """Called after each step; whatever it raises stops there."""

    def __call__(self, step: HoldStep, /) -> None:
        """`step` is done."""


def no_hook(step: HoldStep, /) -> None:
    """Let every step pass."""


@dataclass
class SyncedHolds:
    """What was done to bring the store in line.

    Attributes:
        knows_holds: whether the store knows any. If not, nothing was done: our record alone holds.
        set: keys of objects that the store holds from now on.
        lifted: keys of objects that it holds no longer.
        others: keys of objects that it holds by somebody else's order, and that our holds touch as well.
        read: how many parts were read to know whether a hold touches them.
        problems: what could not be done, in words.
    """

    knows_holds: bool = True
    set: list[str] = field(default_factory=list)
    lifted: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    read: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class HoldDifferences:
    """Where the store's holds and ours are not the same; keys of objects.

    Attributes:
        knows_holds: whether the store knows any; if not, there is nothing to compare.
        compared: how many objects were asked about.
        held: how many of them the store holds.
        unheld: a hold touches them here, and the store does not hold them.
        left: the store holds them by our order, and no hold touches them any more.
        others: the store holds them, no hold here touches them, and we did not order it.
        unknown: what could not be told, in words.
    """

    knows_holds: bool = True
    compared: int = 0
    held: int = 0
    unheld: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def knows_holds(services: Services, connection: sqlalchemy.Connection) -> bool:
    """Whether the cold store knows holds, after making sure that it is this database's.

    Raises:
        LedgerError: the store is not the database's.
        ObjectStoreError: the store cannot tell.
    """
    check_identity(services, connection)
    return services.store.has_hold(IDENTITY_KEY) is not None


def sync_store_holds(services: Services, *, reads: bool = True, hook: StepHook = no_hook) -> SyncedHolds:
    """Set every hold of the store that is wanted, lift those of ours that are not wanted any more.

    Safe beside other runs, and beside new holds: nothing is lifted while a hold is added.

    Args:
        services: the opened services.
        reads: whether purged parts are read that nobody has looked into for a hold on a person or a conversation. Until
            they are, they are held.
        hook: called after each step.

    Raises:
        LedgerError: the store is not the database's.
        RowsHiddenError: holds or parts may be hidden from the login.
        ObjectStoreError: the store failed, or refuses; the next run goes on.
        TransientError: a new hold waits for deletions, or the connection was lost; the next run goes on.
    """
    return _Syncing(services, hook).run(reads=reads)


def hold_new_part(
    services: Services,
    connection: sqlalchemy.Connection,
    manifest: Manifest | ArchivedPart,
    versions: dict[str, str],
) -> None:
    """Have the store hold a committed part whose day a hold covers, before it is recorded in this transaction.

    Until the transaction ends no hold can be added without waiting for it, so that none misses the part.

    Args:
        services: the opened services.
        connection: in the transaction that records the part.
        manifest: of the part, or what the catalogue is to say of it.
        versions: of its two objects, by key, where the store keeps them.

    Raises:
        ObjectStoreError: the store failed, or refuses.
        LockBusyError: a new hold waits for deletions.
        RowsHiddenError: holds may be hidden from the login.
    """
    hold = HeldParts(services, connection, lock_holds(connection)).on_day(manifest.day)
    if hold is None or services.store.has_hold(IDENTITY_KEY) is None:
        return
    keys = (manifest.object_key, manifest.manifest_key)
    store = services.store.at_versions(versions)
    _intend(services, store, keys, no_hook)
    set_now = _set(connection, store, keys)
    if set_now:
        audit_log(services).append_within(
            connection, store_hold_entry(services, manifest.day, manifest.part, set_now, held=True, hold=hold)
        )


def compare_store_holds(services: Services) -> HoldDifferences:
    """Ask the store about every object of every part, and compare with our record. Nothing is changed.

    Raises:
        LedgerError: the store is not the database's.
        RowsHiddenError: holds or parts may be hidden from the login.
        ObjectStoreError: the store failed, or refuses to tell.
    """
    with services.engine.connect() as connection:
        if not knows_holds(services, connection):
            return HoldDifferences(knows_holds=False)
        holds = active_holds(connection)
        held = HeldParts(services, connection, holds)
        parts = [part for part in all_parts(connection) if part.expired_at is None]
        wanted = {part.object_key for part in parts if held.on_part(part) is not None}
        ours = _ours(connection)
    found: dict[str, list[str]] = {"held": [], "unheld": [], "left": [], "others": []}
    unknown = []
    for part in parts:
        store = services.store.at_versions(part.versions)
        for key in (part.object_key, part.manifest_key):
            try:
                is_held = store.has_hold(key)
            except ObjectMissingError as error:
                unknown.append(str(error))
                continue
            if is_held:
                found["held"].append(key)
            if part.object_key in wanted:
                if not is_held:
                    found["unheld"].append(key)
            elif is_held:
                found["left" if key in ours else "others"].append(key)
    return HoldDifferences(
        compared=2 * len(parts),
        held=len(found["held"]),
        unheld=tuple(found["unheld"]),
        left=tuple(found["left"]),
        others=tuple(found["others"]),
        unknown=tuple(unknown),
    )


def _ours(connection: sqlalchemy.Connection) -> set[str]:
    """The keys that the store was told to hold, or was about to be told."""
    refuse_hidden_rows_of(connection, tables.archive_store_holds.name)
    return set(connection.execute(sql.STORE_HOLDS).scalars())


def _intend(services: Services, store: ObjectStore, keys: Sequence[str], hook: StepHook) -> list[str]:
    """Put on record what the store is about to be told; return the keys that it holds by others' order."""
    with services.engine.connect() as connection:
        ours = _ours(connection)
    others = [key for key in keys if key not in ours and store.has_hold(key)]
    new = [key for key in keys if key not in ours and key not in others]
    if new:
        with services.engine.begin() as connection:
            connection.execute(sql.INTEND_STORE_HOLD, [{"key": key} for key in new])
        hook(HoldStep.INTENDED)
    return others


def _set(connection: sqlalchemy.Connection, store: ObjectStore, keys: Sequence[str]) -> list[str]:
    """Tell the store to hold what is intended, and note that it does; return the keys of which that is news.

    Whoever lifts waits for the rows that are locked here.
    """
    news = []
    for row in connection.execute(sql.LOCK_STORE_HOLDS, {"keys": list(keys)}).all():
        held = store.has_hold(row.key)
        if not held:
            store.set_hold(row.key, held=True)
        if not held or row.set_at is None:
            connection.execute(sql.STORE_HOLD_IS_SET, {"key": row.key})
            news.append(row.key)
    return news


class _Syncing:
    """One run."""

    def __init__(self, services: Services, hook: StepHook) -> None:
        self._services = services
        self._hook = hook
        self._done = SyncedHolds()

    def run(self, *, reads: bool) -> SyncedHolds:
        engine = self._services.engine
        with passing_errors_as_transient(_DOING, engine):
            with engine.connect() as connection:
                parts = [part for part in all_parts(connection) if part.expired_at is None]
                if not parts and not _ours(connection):
                    # There may be no store yet.
                    return SyncedHolds()
                if not knows_holds(self._services, connection):
                    return SyncedHolds(knows_holds=False)
            for part in self._wanted(parts):
                self._hold(part)
            self._lift_unwanted(parts)
            if reads:
                self._read(parts)
        return self._done

    def _wanted(self, parts: Sequence[ArchivedPart]) -> Iterator[ArchivedPart]:
        with self._services.engine.connect() as connection:
            held = HeldParts(self._services, connection, active_holds(connection))
            wanted = [part for part in parts if held.on_part(part) is not None]
        yield from wanted

    def _hold(self, part: ArchivedPart) -> None:
        store = self._services.store.at_versions(part.versions)
        keys = (part.object_key, part.manifest_key)
        try:
            self._done.others += _intend(self._services, store, keys, self._hook)
            with self._services.engine.begin() as connection:
                news = _set(connection, store, keys)
                self._hook(HoldStep.SET)
                if news:
                    held = HeldParts(self._services, connection, active_holds(connection)).on_part(part)
                    hold = None if held is None else held.hold
                    entry = store_hold_entry(self._services, part.day, part.part, news, held=True, hold=hold)
                    audit_log(self._services).append_within(connection, entry)
        except ObjectMissingError as error:
            self._done.problems.append(f"{error}: run `compliance verify {part.day}`")
            return
        self._done.set += news
        self._hook(HoldStep.SET_RECORDED)

    def _lift_unwanted(self, parts: Sequence[ArchivedPart]) -> None:
        with self._services.engine.connect() as connection:
            ours = _ours(connection)
            held = HeldParts(self._services, connection, active_holds(connection))
            unwanted = [
                part
                for part in parts
                if not ours.isdisjoint((part.object_key, part.manifest_key)) and held.on_part(part) is None
            ]
            known = {key for part in parts for key in (part.object_key, part.manifest_key)}
            left = [key for key in sorted(ours - known) if (at := parse_key(key)) and held.on_day(at.day) is None]
        for part in unwanted:
            self._lift(part)
        for key in left:
            self._lift_unrecorded(key)

    def _lift_unrecorded(self, key: str) -> None:
        """Lift the hold on what an archive run put and did not come to record, or forget it where it is not there."""
        with self._services.engine.begin() as connection:
            held = HeldParts(self._services, connection, lock_holds(connection))
            at = parse_key(key)
            if at is None or held.on_day(at.day) is not None:
                return
            for row in connection.execute(sql.LOCK_STORE_HOLDS, {"keys": [key]}).all():
                if self._services.store.stat(row.key) is not None:
                    self._services.store.set_hold(row.key, held=False)
                connection.execute(sql.STORE_HOLD_IS_LIFTED, {"key": row.key})
        self._done.lifted.append(key)

    def _lift(self, part: ArchivedPart) -> None:
        """Lift the holds of a part, unless a hold touches it after all; none is added before the transaction ends."""
        store = self._services.store.at_versions(part.versions)
        keys = (part.object_key, part.manifest_key)
        try:
            with self._services.engine.begin() as connection:
                held = HeldParts(self._services, connection, lock_holds(connection))
                if held.on_part(part) is not None:
                    return
                lifted = []
                for row in connection.execute(sql.LOCK_STORE_HOLDS, {"keys": list(keys)}).all():
                    store.set_hold(row.key, held=False)
                    connection.execute(sql.STORE_HOLD_IS_LIFTED, {"key": row.key})
                    lifted.append(row.key)
                self._hook(HoldStep.LIFTED)
                if lifted:
                    entry = store_hold_entry(self._services, part.day, part.part, lifted, held=False, hold=None)
                    audit_log(self._services).append_within(connection, entry)
        except ObjectMissingError as error:
            self._done.problems.append(f"{error}: run `compliance verify {part.day}`")
            return
        self._done.lifted += lifted
        self._hook(HoldStep.LIFT_RECORDED)

    def _read(self, parts: Sequence[ArchivedPart]) -> None:
        """Look into the parts that are held until somebody has, and let go of those that no hold touches."""
        with self._services.engine.connect() as connection:
            held = HeldParts(self._services, connection, active_holds(connection))
            unread = [(part, holds) for part in parts if (holds := held.unread(part))]
        for part, holds in unread:
            try:
                look_into_part(self._services, part, holds)
            except (ObjectMissingError, UnreadableParquetError, DataKeyError) as error:
                self._done.problems.append(
                    f"part {part.part} of {part.day} stays held, since it cannot be read: {error}"
                )
                continue
            self._done.read += 1
            self._hook(HoldStep.READ)
            self._lift(part)
