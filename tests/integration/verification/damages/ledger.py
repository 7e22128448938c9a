"""Damage to segments and checkpoints, in the database and in the cold store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger.checkpoint import Checkpoint, sign_checkpoint
from compliance_pipelines.ledger.tiles import ENTRIES, Tile, bundle_of
from tests.integration.archive.days import overwrite
from tests.integration.verification.damages.damage import (
    OTHER_KEY,
    Damage,
    all_of,
    sql,
)
from tests.integration.verification.world import ARCHIVED, BUNDLE, HOT, LEAVES, PURGED, forked, note_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.verification.world import World


def _other_key_in_database(world: World) -> None:
    note = sign_checkpoint(Checkpoint(origin=OTHER_KEY.name, size=4, root=bytes(32)), OTHER_KEY)
    world.execute("UPDATE ledger_checkpoints SET note = :note WHERE size = 4", note=note)


def _fork_in_database(world: World) -> None:
    note = forked(world.records()[:4])
    world.execute("UPDATE ledger_checkpoints SET note = :note, root = :root WHERE size = 4", note=note, root=bytes(32))


def _longer_record(world: World) -> None:
    records = [record.record_bytes() for record in world.records()]
    records[4] += b"\0"
    overwrite(world.tile_path(BUNDLE), bundle_of(records))


def _cut_back(size: int) -> Callable[[World], object]:
    """The ledger as it was."""

    def do(world: World) -> None:
        world.write_note(note_of(world.records()[:size]))
        world.remove(world.tile_path(BUNDLE), world.tile_path(LEAVES))
        if size < 8:
            world.remove(world.tile_path(Tile(0, 0, 8)), world.tile_path(Tile(ENTRIES, 0, 8)))

    return do


def _pretend_record(world: World) -> None:
    world.execute(
        "INSERT INTO ledger_segments SELECT 9, day, tx_to, tx_to + 5, first_id, last_id, entry_count, root, sealed_at"
        " FROM ledger_segments WHERE seq = 6"
    )


LEDGER: Final = [
    Damage(
        "a segment record is altered in the database",
        sql("UPDATE ledger_segments SET entry_count = entry_count + 1 WHERE seq = 2"),
        ["segment_altered"],
        [],
        f"the record of segment 2 of {ARCHIVED} in the database was altered",
    ),
    Damage(
        "the root of a hot segment is altered in the database",
        sql("UPDATE ledger_segments SET root = :root WHERE seq = 3", root=bytes(32)),
        ["segment_altered"],
        [],
        f"the record of segment 3 of {HOT} in the database was altered",
    ),
    Damage(
        "a segment record is missing from the database",
        all_of(
            sql("DELETE FROM archived_segments WHERE segment_seq = 0"),
            sql("DELETE FROM ledger_segments WHERE seq = 0"),
        ),
        ["catalogue_altered", "segment_missing"],
        [],
        f"the record of segment 0 of {PURGED} is missing from the database",
    ),
    Damage(
        "a segment record is inserted into the database",
        _pretend_record,
        ["catalogue_altered", "segment_inserted"],
        [],
        "the record of segment 9",
    ),
    Damage(
        "a segment record is altered in the entry bundle",
        lambda world: world.alter_record(4),
        ["bundle_altered"],
        ["bundle_altered"],
        "its records of 1 of 9 segments (4) are not those that the other objects of the ledger lead to",
    ),
    Damage(
        "a record in the entry bundle is longer",
        _longer_record,
        ["bundle_altered"],
        ["bundle_altered"],
        "its records of 1 of 9 segments (4) are not",
    ),
    Damage(
        "a segment record is altered in the entry bundle, nobody else in the bucket knows it",
        lambda world: world.alter_record(3),
        ["bundle_altered"],
        ["bundle_altered"],
        "its records of 1 of 9 segments (3) are not",
    ),
    Damage(
        "a segment record and its leaf are altered, a manifest bears witness",
        lambda world: world.alter_record_and_leaf(4),
        ["bundle_altered", "tile_altered"],
        ["bundle_altered", "tile_altered"],
        "its hashes of 1 of 9 segments (4) are not",
    ),
    Damage(
        "a segment record and its leaf are altered, nobody else in the bucket knows it",
        lambda world: world.alter_record_and_leaf(3),
        ["bundle_altered", "tile_altered"],
        ["segment_altered"],
        "its hashes of 1 of 9 segments (3) are not",
        "segments 0 to 8 are not in the cold store as checkpoint 9 was signed over them",
    ),
    Damage(
        "a segment record is altered in both stores",
        all_of(
            lambda world: world.alter_record(3),
            sql("UPDATE ledger_segments SET entry_count = entry_count + 2 WHERE seq = 3"),
        ),
        ["bundle_altered", "catalogue_altered", "entry_inserted", "segment_altered"],
        ["bundle_altered"],
        f"the record of segment 3 of {HOT} is not as it was signed where the database holds it",
        "its records of 1 of 9 segments (3) are not",
    ),
    Damage(
        "a hash is altered in a tile",
        lambda world: world.alter_leaf(3),
        ["tile_altered"],
        ["tile_altered"],
        "tile/0/000.p/9 was altered: its hashes of 1 of 9 segments (3) are not",
    ),
    Damage(
        "a partial tile of before is none of the ledger's",
        lambda world: overwrite(world.tile_path(Tile(0, 0, 5)), bytes(160)),
        ["tile_altered"],
        ["tile_altered"],
        "tile/0/000.p/5 was altered: it is not the beginning of",
    ),
    Damage(
        "a tile is cut off",
        lambda world: overwrite(world.tile_path(LEAVES), world.tile_path(LEAVES).read_bytes()[:-32]),
        ["tile_altered"],
        ["tile_altered"],
        "it has 256 bytes, and 9 hashes have 288",
    ),
    Damage(
        "the tile is missing",
        lambda world: world.remove(world.tile_path(LEAVES)),
        ["tile_missing"],
        ["tile_missing"],
        "tile/0/000.p/9 is missing from the cold store",
    ),
    Damage(
        "the entry bundle is missing",
        lambda world: world.remove(world.tile_path(BUNDLE)),
        ["bundle_missing"],
        ["bundle_missing"],
        "tile/entries/000.p/9 is missing from the cold store",
    ),
    Damage(
        "the checkpoint is missing from the cold store",
        lambda world: world.remove(world.checkpoint_path),
        ["checkpoint_missing"],
        ["checkpoint_missing"],
        "audit-ledger/checkpoint is missing from the cold store",
    ),
    Damage(
        "the checkpoint in the cold store is an older one",
        lambda world: world.write_note(note_of(world.records()[:5])),
        ["ledger_rolled_back"],
        ["ledger_rolled_back"],
        "checkpoint 8 was published, and the ledger in the cold store ends at 5 records",
        "holds segment 5, and the ledger in the cold store ends at 5 records",
    ),
    Damage(
        "the ledger in the cold store is cut back",
        _cut_back(5),
        ["ledger_rolled_back"],
        ["ledger_rolled_back"],
        "checkpoint 8 was published, and the ledger in the cold store ends at 5 records",
        "holds segment 5, and the ledger in the cold store ends at 5 records",
    ),
    Damage(
        "the ledger in the cold store is cut back behind all that is archived",
        _cut_back(8),
        ["ledger_rolled_back"],
        [],
        "checkpoint 9 was published, and the ledger in the cold store ends at 8 records",
    ),
    Damage(
        "the checkpoint in the cold store is altered",
        lambda world: world.write_note("checkpoint\n"),
        ["checkpoint_altered"],
        ["checkpoint_altered"],
        "audit-ledger/checkpoint was altered: a note is a text",
    ),
    Damage(
        "the checkpoint in the cold store is signed by another key",
        lambda world: world.write_note(note_of(world.records(), key=OTHER_KEY, origin=OTHER_KEY.name)),
        ["checkpoint_of_another_key"],
        ["checkpoint_of_another_key"],
        "is signed by another key: the note is not signed by tests.example/audit",
    ),
    Damage(
        "the checkpoint in the cold store belongs to another ledger",
        lambda world: world.write_note(note_of(world.records(), origin="another.example/audit")),
        ["checkpoint_of_another_ledger"],
        ["checkpoint_of_another_ledger"],
        "belongs to another ledger",
    ),
    Damage(
        "the signature of the checkpoint in the cold store is damaged",
        lambda world: world.write_note(note_of(world.records()).replace("\n9\n", "\n8\n")),
        ["checkpoint_altered"],
        ["checkpoint_altered"],
        "does not fit: the note or the signature was altered",
    ),
    Damage(
        "the checkpoint in the cold store is forked",
        lambda world: world.write_note(forked(world.records())),
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
        "the signature of a checkpoint in the database is damaged",
        sql("UPDATE ledger_checkpoints SET note = overlay(note PLACING 'AAAA' FROM length(note) - 9) WHERE size = 4"),
        ["checkpoint_altered"],
        [],
        "checkpoint 4 in the database was altered: the signature of",
    ),
    Damage(
        "a checkpoint in the database has the note of another one",
        sql("UPDATE ledger_checkpoints SET note = (SELECT note FROM ledger_checkpoints WHERE size = 9) WHERE size = 4"),
        ["checkpoint_altered"],
        [],
        "it is signed for 9 records, not 4",
    ),
    Damage(
        "a checkpoint's root is altered in the database",
        sql("UPDATE ledger_checkpoints SET root = :root WHERE size = 4", root=bytes(32)),
        ["checkpoint_altered"],
        [],
        "checkpoint 4 in the database was altered: its root is 0000",
    ),
    Damage(
        "a checkpoint's frontier is altered in the database",
        sql("UPDATE ledger_checkpoints SET frontier = :nodes WHERE size = 4", nodes=bytes(32)),
        ["checkpoint_altered"],
        [],
        "its frontier does not lead to root",
    ),
    Damage(
        "a checkpoint's horizon is altered in the database",
        sql("UPDATE ledger_checkpoints SET tx_horizon = 0 WHERE size = 9"),
        ["checkpoint_altered"],
        [],
        "its horizon is 0, and its last record ends at",
    ),
    Damage(
        "the horizon of a checkpoint that the database alone has is altered",
        sql("UPDATE ledger_checkpoints SET tx_horizon = 0 WHERE size = 4"),
        ["checkpoint_altered"],
        [],
        "checkpoint 4 in the database was altered: its horizon is 0, and its last record ends at",
    ),
    Damage(
        "a checkpoint is missing from the database",
        sql("DELETE FROM ledger_checkpoints WHERE size = 4"),
        ["checkpoint_missing"],
        [],
        "checkpoint 4, which was published, is missing from the database",
    ),
    Damage(
        "the database says that a checkpoint was put elsewhere",
        sql("UPDATE ledger_publications SET object_key = 'elsewhere' WHERE size = 4"),
        ["checkpoint_altered"],
        [],
        "not elsewhere",
    ),
]
