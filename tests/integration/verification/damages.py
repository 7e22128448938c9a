"""Everything that a superuser or an administrator of the bucket can do, and what it must be called."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive.layout import object_key, part_root
from compliance_pipelines.archive.manifest import Manifest, parse_manifest
from compliance_pipelines.ledger.checkpoint import Checkpoint, SigningKey, open_checkpoint, sign_checkpoint
from tests.integration.archive.days import overwrite
from tests.integration.verification.world import ARCHIVED, HOT, KEY, OTHER_ARCHIVED, PURGED, forked

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.verification.world import World

OTHER_KEY: Final = SigningKey.generate("somebody.example/else")


@dataclass(frozen=True)
class Damage:
    """What is done; the kinds of the findings that must follow, no more and no fewer; what a finding must say."""

    name: str
    do: Callable[[World], object]
    online: list[str]
    offline: list[str]
    says: str
    says_offline: str = ""


def _all(*steps: Callable[[World], object]) -> Callable[[World], object]:
    """One after another."""

    def do(world: World) -> None:
        for step in steps:
            step(world)

    return do


def _remove_part(day: date) -> Callable[[World], object]:
    return lambda world: world.remove(world.manifest_path(day), world.object_path(day))


def _sql(statement: str, **parameters: object) -> Callable[[World], object]:
    return lambda world: world.execute(statement, **parameters)


def _on(day: date) -> str:
    return f"\"timestamp\" >= '{day}' AND \"timestamp\" < '{day + timedelta(days=1)}'"


def _forged_row(day: date, tx_id: int | str, like: date) -> Callable[[World], object]:
    """A copy of an entry under another id, on a day and in a transaction of the forger's choice."""
    shift = (day - like).days
    return _sql(
        f"INSERT INTO audit_logs SELECT id + 1000000, 'forged', \"timestamp\" + interval '{shift} days', user_id,"
        f" action, resource_type, resource_id, result, metadata, created_at, {tx_id} FROM audit_logs WHERE {_on(like)}"
        " ORDER BY id LIMIT 1"
    )


def _first(day: date) -> str:
    return f"id = (SELECT min(id) FROM audit_logs WHERE {_on(day)})"


HOT_ROWS: Final = [
    Damage(
        "an entry is altered in the hot store",
        _sql(f"UPDATE audit_logs SET result = 'denied' WHERE {_first(HOT)}"),
        ["entry_altered"],
        [],
        "at least one of the 6 entries of segment 3 was altered",
    ),
    Damage(
        "the metadata of an archived entry is altered in the hot store",
        _sql(f"UPDATE audit_logs SET metadata = '{{}}' WHERE {_first(ARCHIVED)}"),
        ["entry_altered"],
        [],
        "at least one of the 10 entries of segment 2 was altered",
    ),
    Damage(
        "an entry is deleted",
        _sql(f"DELETE FROM audit_logs WHERE {_first(HOT)}"),
        ["entry_deleted"],
        [],
        "1 entry was deleted from segment 3, which had 6",
    ),
    Damage(
        "an entry is inserted into a sealed range",
        _forged_row(HOT, "tx_id", HOT),
        ["entry_inserted"],
        [],
        "1 entry was inserted into segment 3, which had 6",
    ),
    Damage(
        "an entry is inserted below the horizon where no segment of its day is",
        _forged_row(HOT, 1, HOT),
        ["entry_inserted"],
        [],
        "1 entry was outside every segment inserted (forged)",
    ),
    Damage(
        "an entry is inserted below the horizon on a day that has no segment",
        _forged_row(HOT + timedelta(days=1), 1, HOT),
        ["entry_inserted"],
        [],
        "1 entry was outside every segment inserted (forged)",
    ),
    Damage(
        "an entry is inserted into a purged segment",
        _forged_row(OTHER_ARCHIVED, 1, HOT),
        ["entry_inserted"],
        [],
        "1 entry was inserted into segments whose entries were purged (forged)",
    ),
    Damage(
        "an entry is moved to another day",
        _sql(f'UPDATE audit_logs SET "timestamp" = "timestamp" + interval \'1 day\' WHERE {_first(HOT)}'),
        ["entry_deleted", "entry_inserted"],
        [],
        "1 entry was deleted from segment 3",
    ),
    Damage(
        "an entry is moved out of all time",
        _all(
            _sql("ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_timestamp_not_in_future"),
            _sql("ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_timestamp_is_finite"),
            _sql(f"UPDATE audit_logs SET \"timestamp\" = 'infinity' WHERE {_first(HOT)}"),
        ),
        ["entry_deleted", "entry_inserted"],
        [],
        "entries were inserted whose timestamp is on no day",
    ),
    Damage(
        "an entry is inserted in a way that no sealing ever takes it",
        _forged_row(HOT, 2**61, HOT),
        ["entry_inserted"],
        [],
        "under a transaction id that was never given out, so that none is ever sealed (forged)",
    ),
    Damage(
        "all entries of an archived day are deleted from the hot store",
        _sql(f"DELETE FROM audit_logs WHERE {_on(ARCHIVED)}"),
        ["entry_deleted"],
        [],
        "in PostgreSQL, all 17 entries that must be there were deleted",
    ),
    Damage(
        "a whole day is missing from the hot store, where alone it was",
        _sql(f"DROP TABLE audit_logs_{HOT:%Y_%m_%d}"),
        ["day_missing"],
        [],
        "nothing is left of its 10 sealed entries",
    ),
    Damage(
        "the partition of a day is taken out of the table",
        _sql(f"ALTER TABLE audit_logs_{HOT:%Y_%m} DETACH PARTITION audit_logs_{HOT:%Y_%m_%d}"),
        ["day_missing"],
        [],
        "nothing is left of its 10 sealed entries",
    ),
]


def _truncate(world: World) -> None:
    path = world.object_path(ARCHIVED)
    overwrite(path, path.read_bytes()[:-100])


def _swap(world: World) -> None:
    one, other = world.object_path(PURGED), world.object_path(OTHER_ARCHIVED)
    first, second = one.read_bytes(), other.read_bytes()
    overwrite(one, second)
    overwrite(other, first)


def _swap_manifests(world: World) -> None:
    one, other = world.manifest_path(PURGED), world.manifest_path(OTHER_ARCHIVED)
    first, second = one.read_bytes(), other.read_bytes()
    overwrite(one, second)
    overwrite(other, first)


def _sign_manifest_again(world: World) -> None:
    """A manifest of the same content by another key."""
    path = world.manifest_path(ARCHIVED)
    manifest = parse_manifest(path.read_bytes(), KEY.verifier_key(), name=path.name)
    overwrite(path, manifest.to_bytes(OTHER_KEY))


def _sign_other_segments(world: World) -> Manifest:
    """Put a manifest that whoever has the key signed over another segment record."""
    path = world.manifest_path(ARCHIVED)
    manifest = parse_manifest(path.read_bytes(), KEY.verifier_key(), name=path.name)
    segments = (replace(manifest.segments[0], tx_from=0), *manifest.segments[1:])
    root = part_root(segments)
    other = replace(manifest, root=root, segments=segments, object_key=object_key(ARCHIVED, 1, root))
    world.services.store.put_bytes(other.manifest_key, other.to_bytes(KEY))
    return other


def _record_other_segments(world: World) -> None:
    """Let the catalogue believe in such a manifest."""
    other = _sign_other_segments(world)
    data = (world.cold / other.manifest_key).read_bytes()
    world.execute(
        "UPDATE archived_audit_logs SET manifest_key = :manifest_key, object_key = :object_key, root = :root,"
        " manifest_sha256 = :sha256 WHERE day = :day",
        manifest_key=other.manifest_key,
        object_key=other.object_key,
        root=other.root,
        sha256=hashlib.sha256(data).hexdigest(),
        day=ARCHIVED,
    )


def _put_beside(world: World, number: int) -> None:
    """A copy of an archived part under another number, as only whoever has the key can make it commit."""
    path = world.manifest_path(ARCHIVED)
    manifest = parse_manifest(path.read_bytes(), KEY.verifier_key(), name=path.name)
    beside = replace(manifest, part=number, object_key=manifest.object_key.replace(".1-", f".{number}-"))
    world.services.store.put_bytes(beside.manifest_key, beside.to_bytes(KEY))
    world.services.store.put_bytes(beside.object_key, world.object_path(ARCHIVED).read_bytes())


PARTS: Final = [
    Damage(
        "an object is altered",
        lambda world: world.alter_object(PURGED),
        ["object_altered"],
        ["object_altered"],
        "was altered: its bytes do not have the SHA-256 that was committed",
    ),
    Damage("an object is truncated", _truncate, ["object_truncated"], ["object_truncated"], "was truncated"),
    Damage(
        "objects of two days are swapped",
        _swap,
        ["object_swapped", "object_swapped"],
        ["object_swapped", "object_swapped"],
        f"holds part 1 of {OTHER_ARCHIVED} instead of its own content",
    ),
    Damage(
        "an object grows",
        lambda world: overwrite(world.object_path(ARCHIVED), world.object_path(ARCHIVED).read_bytes() + b"more"),
        ["object_altered"],
        ["object_altered"],
        "was altered",
        "bytes, committed are",
    ),
    Damage(
        "an object is missing",
        lambda world: world.remove(world.object_path(ARCHIVED)),
        ["object_missing"],
        ["object_missing"],
        "is missing from the cold store",
    ),
    Damage(
        "the only object of a purged day is missing",
        lambda world: world.remove(world.object_path(OTHER_ARCHIVED)),
        ["day_missing", "object_missing"],
        ["object_missing"],
        "nothing is left of its 8 sealed entries",
        "is missing from the cold store",
    ),
    Damage(
        "a manifest is altered",
        lambda world: world.alter_manifest(PURGED),
        ["manifest_altered"],
        ["manifest_altered"],
        "was altered: its signature",
    ),
    Damage(
        "a manifest is signed by another key",
        _sign_manifest_again,
        ["manifest_altered"],
        ["manifest_altered"],
        "is not validly signed by tests.example/audit",
    ),
    Damage(
        "the manifests of two days are swapped",
        _swap_manifests,
        ["manifest_altered", "manifest_altered"],
        ["manifest_altered", "manifest_altered"],
        "was altered: it is the manifest of",
    ),
    Damage(
        "a manifest is missing",
        lambda world: world.remove(world.manifest_path(OTHER_ARCHIVED)),
        ["manifest_missing"],
        ["manifest_missing"],
        "is missing from the cold store",
    ),
    Damage(
        "manifest and object of a purged part are missing, a later part is there",
        _remove_part(PURGED),
        ["manifest_missing", "object_missing"],
        ["part_missing"],
        "is missing from the cold store",
        "20 sealed entries are (segment 0) in no part, and later ones are",
    ),
    Damage(
        "a whole purged day is missing from the cold store",
        _remove_part(OTHER_ARCHIVED),
        ["day_missing", "manifest_missing", "object_missing"],
        [],
        "nothing is left of its 8 sealed entries: PostgreSQL has none, the cold store no object",
    ),
    Damage(
        "manifest and object of the same part are altered",
        _all(lambda world: world.alter_manifest(PURGED), lambda world: world.alter_object(PURGED)),
        ["manifest_altered", "object_altered"],
        ["manifest_altered", "object_truncated"],
        "was altered: its bytes",
        "cannot be read",
    ),
    Damage(
        "whoever has the key signs a manifest over another segment record",
        _sign_other_segments,
        ["part_unknown"],
        ["manifest_contradicts_ledger", "object_missing", "parts_overlap", "parts_overlap"],
        "is not in the catalogue, and holds segments that are not in the ledger",
        "its records of segment 2 are not those of the ledger",
    ),
    Damage(
        "whoever has the key and the database replaces a part by one of another segment record",
        _record_other_segments,
        ["manifest_contradicts_ledger", "object_missing", "part_unknown"],
        ["manifest_contradicts_ledger", "object_missing", "parts_overlap", "parts_overlap"],
        "its records of segment 2 are not those of the ledger",
        "its records of segment 2 are not those of the ledger",
    ),
    Damage(
        "a part is put beside another that holds the same segments",
        lambda world: _put_beside(world, 7),
        ["part_unknown"],
        ["object_swapped", "parts_overlap", "parts_overlap"],
        "is not in the catalogue, and holds segments that another part holds",
        "is in more than one part: audit-archives/",
    ),
    Damage(
        "a manifest of somebody else is put beside",
        lambda world: world.services.store.put_bytes(
            world.manifest_path(ARCHIVED).relative_to(world.cold).as_posix().replace(".1-", ".7-"), b"{}\n"
        ),
        ["part_unknown"],
        ["manifest_altered"],
        "is not in the catalogue, and nothing of ours",
        "is no manifest",
    ),
]


CATALOGUE: Final = [
    Damage(
        "the row of a part is altered",
        _sql("UPDATE archived_audit_logs SET object_bytes = object_bytes + 1 WHERE day = :day", day=ARCHIVED),
        ["catalogue_altered"],
        [],
        "the catalogue's row of part 1",
    ),
    Damage(
        "the keys of a part are altered",
        _sql("UPDATE archived_audit_logs SET manifest_key = 'x', object_key = 'y' WHERE day = :day", day=ARCHIVED),
        ["catalogue_altered", "manifest_missing", "object_missing", "part_unknown"],
        [],
        "its keys are not those of its day, number and root",
    ),
    Damage(
        "a segment is taken out of its part",
        _sql("DELETE FROM archived_segments WHERE segment_seq = 4"),
        ["catalogue_altered"],
        [],
        "archived_segments gives it segment 2, and it holds 2, 4",
    ),
    Damage(
        "a segment that was deleted is said to be in a purged part",
        _all(
            _sql(
                f"DELETE FROM audit_logs WHERE {_on(HOT)} AND tx_id < (SELECT tx_to FROM ledger_segments WHERE seq = 3)"
            ),
            _sql("INSERT INTO archived_segments (segment_seq, day, part) VALUES (3, :day, 1)", day=OTHER_ARCHIVED),
        ),
        ["catalogue_altered", "entry_deleted"],
        [],
        "6 entries were deleted from segment 3",
    ),
    Damage(
        "a segment is said to be in a part that does not exist",
        _sql("INSERT INTO archived_segments (segment_seq, day, part) VALUES (3, :day, 5)", day=HOT),
        ["catalogue_altered"],
        [],
        f"archived_segments speaks of part 5 of {HOT}, which the catalogue does not have",
    ),
    Damage(
        "the catalogue forgets a purged part",
        _all(
            _sql("DELETE FROM archived_segments WHERE day = :day", day=OTHER_ARCHIVED),
            _sql("DELETE FROM archived_audit_logs WHERE day = :day", day=OTHER_ARCHIVED),
        ),
        ["catalogue_altered"],
        [],
        "is committed, its entries left PostgreSQL, and the catalogue does not have it any more",
    ),
    Damage(
        "a part is said to have expired before its time",
        _all(
            _sql("UPDATE archived_audit_logs SET expired_at = now() WHERE day = :day", day=OTHER_ARCHIVED),
            _remove_part(OTHER_ARCHIVED),
        ),
        ["catalogue_altered"],
        [],
        "has expired, and it is to be kept until",
    ),
    Damage(
        "a part is said to be purged, and its entries are there",
        _sql("UPDATE archived_audit_logs SET purged_at = now() WHERE day = :day", day=ARCHIVED),
        ["entry_inserted"],
        [],
        "17 entries were inserted into segments whose entries were purged",
    ),
    Damage(
        "manifest and record of what a part holds are both gone",
        _all(
            _sql("DELETE FROM archived_segments WHERE day = :day", day=ARCHIVED),
            lambda world: world.remove(world.manifest_path(ARCHIVED)),
        ),
        ["catalogue_altered", "manifest_missing"],
        ["manifest_missing"],
        "archived_segments gives it segment none, and it holds 2, 4",
        "is missing from the cold store",
    ),
]


def _other_key_in_database(world: World) -> None:
    publication = world.publication(4)
    checkpoint = Checkpoint(origin=OTHER_KEY.name, size=4, root=bytes(32))
    note = sign_checkpoint(checkpoint, OTHER_KEY)
    assert publication.note != note
    world.execute("UPDATE ledger_checkpoints SET note = :note WHERE size = 4", note=note)


def _sign_again(world: World, size: int, key: SigningKey, origin: str) -> None:
    """The checkpoint object as somebody else, or for somebody else, would have signed it."""
    publication = world.publication(size)
    root = open_checkpoint(publication.note, KEY.verifier_key()).root
    note = sign_checkpoint(Checkpoint(origin=origin, size=size, root=root), key)
    world.write_publication(replace(publication, note=note))


def _fork_in_database(world: World) -> None:
    note = forked(world.publication(4)).note
    world.execute("UPDATE ledger_checkpoints SET note = :note, root = :root WHERE size = 4", note=note, root=bytes(32))


def _move(world: World, size: int, to: int) -> None:
    overwrite(world.checkpoint_path(to), world.checkpoint_path(size).read_bytes())


def _pretend_record(world: World) -> None:
    world.execute(
        "INSERT INTO ledger_segments SELECT 9, day, tx_to, tx_to + 5, first_id, last_id, entry_count, root, sealed_at"
        " FROM ledger_segments WHERE seq = 6"
    )


LEDGER: Final = [
    Damage(
        "a segment record is altered in the database",
        _sql("UPDATE ledger_segments SET entry_count = entry_count + 1 WHERE seq = 2"),
        ["segment_altered"],
        [],
        f"the record of segment 2 of {ARCHIVED} in the database was altered",
    ),
    Damage(
        "the root of a hot segment is altered in the database",
        _sql("UPDATE ledger_segments SET root = :root WHERE seq = 3", root=bytes(32)),
        ["segment_altered"],
        [],
        f"the record of segment 3 of {HOT} in the database was altered",
    ),
    Damage(
        "a segment record is missing from the database",
        _all(
            _sql("DELETE FROM archived_segments WHERE segment_seq = 0"),
            _sql("DELETE FROM ledger_segments WHERE seq = 0"),
        ),
        ["catalogue_altered", "segment_missing"],
        [],
        f"the record of segment 0 of {PURGED} is missing from the database",
    ),
    Damage(
        "a segment record is inserted into the database",
        _pretend_record,
        ["segment_inserted"],
        [],
        "the record of segment 9",
    ),
    Damage(
        "a segment record is altered in a checkpoint object, a manifest bears witness",
        lambda world: world.alter_record(5),
        ["segment_altered"],
        ["segment_altered"],
        f"the record of segment 4 of {ARCHIVED} was altered in the cold store's checkpoint object",
        f"the record of segment 4 of {ARCHIVED} was altered in the cold store's checkpoint object",
    ),
    Damage(
        "a segment record is altered in a checkpoint object, nobody else in the bucket knows it",
        lambda world: world.alter_record(4, 1),
        ["segment_altered"],
        ["checkpoint_unverifiable", "segment_altered"],
        f"the record of segment 3 of {HOT} was altered in the cold store's checkpoint object",
        "segments 2 to 3 are not in the cold store as checkpoint 4 was signed over them",
    ),
    Damage(
        "a segment record is altered in both stores",
        _all(
            lambda world: world.alter_record(4, 1),
            _sql("UPDATE ledger_segments SET entry_count = entry_count + 2 WHERE seq = 3"),
        ),
        ["entry_deleted", "segment_altered", "segment_altered"],
        ["checkpoint_unverifiable", "segment_altered"],
        "segments 2 to 3 are in neither store as checkpoint 4 was signed over them",
        "segments 2 to 3 are not in the cold store",
    ),
    Damage(
        "the first checkpoint is missing from the cold store",
        lambda world: world.remove(world.checkpoint_path(2)),
        ["checkpoint_missing"],
        ["checkpoint_missing"],
        "checkpoint 2 was published and is missing from the cold store",
        "checkpoint 2 is missing from the cold store",
    ),
    Damage(
        "a checkpoint in the middle is missing from the cold store",
        lambda world: world.remove(world.checkpoint_path(5)),
        ["checkpoint_missing"],
        ["checkpoint_missing"],
        "checkpoint 5 was published and is missing from the cold store",
        "checkpoint 5 is missing from the cold store: the one of 8 segments follows it",
    ),
    Damage(
        "a checkpoint is missing, and its hot segment with it",
        lambda world: world.remove(world.checkpoint_path(4)),
        ["checkpoint_missing"],
        ["checkpoint_missing", "checkpoint_unverifiable"],
        "checkpoint 4 was published and is missing from the cold store",
        "3 checkpoints, 5 to 9, are validly signed, but cannot be recomputed",
    ),
    Damage(
        "the last checkpoint is missing from the cold store",
        lambda world: world.remove(world.checkpoint_path(9)),
        ["checkpoint_missing"],
        [],
        "checkpoint 9 was published and is missing from the cold store",
    ),
    Damage(
        "the last checkpoints are missing from the cold store, an archived segment in them",
        lambda world: world.remove(world.checkpoint_path(9), world.checkpoint_path(8)),
        ["checkpoint_missing"],
        ["checkpoint_missing"],
        "checkpoint 8 was published and is missing from the cold store",
        "holds segment 5, and the newest checkpoint is of 5 segments: later checkpoints are missing",
    ),
    Damage(
        "a checkpoint object is altered",
        lambda world: overwrite(world.checkpoint_path(5), b'{"checkpoint": 5}\n'),
        ["checkpoint_altered"],
        ["checkpoint_altered"],
        "was altered: it is no checkpoint object",
    ),
    Damage(
        "a checkpoint object is put in another's place",
        lambda world: _move(world, 5, 8),
        ["checkpoint_altered"],
        ["checkpoint_altered", "checkpoint_unverifiable"],
        "was altered: it holds the checkpoint of 5 segments",
    ),
    Damage(
        "a checkpoint is signed by another key",
        lambda world: _sign_again(world, 5, OTHER_KEY, OTHER_KEY.name),
        ["checkpoint_of_another_key"],
        ["checkpoint_of_another_key"],
        "is signed by another key: the note is not signed by tests.example/audit",
    ),
    Damage(
        "a checkpoint belongs to another ledger",
        lambda world: _sign_again(world, 5, KEY, "another.example/audit"),
        ["checkpoint_of_another_ledger"],
        ["checkpoint_of_another_ledger"],
        "belongs to another ledger",
    ),
    Damage(
        "a checkpoint's signature is damaged",
        lambda world: world.write_publication(replace(world.publication(5), note=world.publication(8).note), 5),
        ["checkpoint_altered"],
        ["checkpoint_altered"],
        "was altered: it is signed for 8 segments, not 5",
    ),
    Damage(
        "a checkpoint in the cold store is forked",
        lambda world: world.write_publication(forked(world.publication(5))),
        ["checkpoint_forked"],
        ["checkpoint_forked"],
        "checkpoint 5 in the cold store is signed over root 0000",
        "checkpoint 5 in the cold store is signed over root 0000",
    ),
    Damage(
        "the last checkpoint in the cold store is forked",
        lambda world: world.write_publication(forked(world.publication(9))),
        ["checkpoint_forked"],
        ["segment_altered"],
        "checkpoint 9 is signed over two roots",
        "A record was altered, or (with the signing key) another ledger was signed",
    ),
    Damage(
        "a checkpoint in the database is forked",
        _fork_in_database,
        ["checkpoint_altered", "checkpoint_forked"],
        [],
        "checkpoint 4 in the database is signed over root 0000",
    ),
    Damage(
        "a checkpoint in the database is signed by another key",
        _other_key_in_database,
        ["checkpoint_of_another_key"],
        [],
        "checkpoint 4 in the database is signed by another key",
    ),
    Damage(
        "a checkpoint's root is altered in the database",
        _sql("UPDATE ledger_checkpoints SET root = :root WHERE size = 4", root=bytes(32)),
        ["checkpoint_altered"],
        [],
        "checkpoint 4 in the database was altered: its root is 0000",
    ),
    Damage(
        "a checkpoint's frontier is altered in the database",
        _sql("UPDATE ledger_checkpoints SET frontier = :nodes WHERE size = 4", nodes=bytes(32)),
        ["checkpoint_altered"],
        [],
        "its frontier does not lead to root",
    ),
    Damage(
        "a checkpoint's horizon is altered in the database",
        _sql("UPDATE ledger_checkpoints SET tx_horizon = 0 WHERE size = 9"),
        ["checkpoint_altered"],
        [],
        "its horizon is 0, and its last segment ends at",
    ),
    Damage(
        "a checkpoint is missing from the database",
        _all(
            _sql("DELETE FROM ledger_publications WHERE size = 4"),
            _sql("DELETE FROM ledger_checkpoints WHERE size = 4"),
        ),
        ["checkpoint_missing"],
        [],
        "is missing from the database",
    ),
    Damage(
        "a checkpoint is missing from both stores",
        _all(
            _sql("DELETE FROM ledger_publications WHERE size = 5"),
            _sql("DELETE FROM ledger_checkpoints WHERE size = 5"),
            lambda world: world.remove(world.checkpoint_path(5)),
        ),
        ["checkpoint_missing"],
        ["checkpoint_missing"],
        "checkpoint 5 is missing from the cold store: the one of 8 segments follows it",
        "checkpoint 5 is missing from the cold store",
    ),
    Damage(
        "the database says that a checkpoint was put elsewhere",
        _sql("UPDATE ledger_publications SET object_key = 'elsewhere' WHERE size = 4"),
        ["checkpoint_altered"],
        [],
        "not elsewhere",
    ),
]

DAMAGES: Final = [*HOT_ROWS, *PARTS, *CATALOGUE, *LEDGER]
