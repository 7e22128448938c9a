"""Damage to segments and checkpoints, in the database and in the cold store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger.checkpoint import Checkpoint, SigningKey, open_checkpoint, sign_checkpoint
from tests.integration.archive.days import overwrite
from tests.integration.verification.damages.damage import (
    OTHER_KEY,
    Damage,
    all_of,
    sql,
)
from tests.integration.verification.world import ARCHIVED, HOT, KEY, PURGED, forked

if TYPE_CHECKING:
    from tests.integration.verification.world import World


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
        all_of(
            lambda world: world.alter_record(4, 1),
            sql("UPDATE ledger_segments SET entry_count = entry_count + 2 WHERE seq = 3"),
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
        "its horizon is 0, and its last segment ends at",
    ),
    Damage(
        "a checkpoint is missing from the database",
        all_of(
            sql("DELETE FROM ledger_publications WHERE size = 4"),
            sql("DELETE FROM ledger_checkpoints WHERE size = 4"),
        ),
        ["checkpoint_missing"],
        [],
        "is missing from the database",
    ),
    Damage(
        "a checkpoint is missing from both stores",
        all_of(
            sql("DELETE FROM ledger_publications WHERE size = 5"),
            sql("DELETE FROM ledger_checkpoints WHERE size = 5"),
            lambda world: world.remove(world.checkpoint_path(5)),
        ),
        ["checkpoint_missing"],
        ["checkpoint_missing"],
        "checkpoint 5 is missing from the cold store: the one of 8 segments follows it",
        "checkpoint 5 is missing from the cold store",
    ),
    Damage(
        "the database says that a checkpoint was put elsewhere",
        sql("UPDATE ledger_publications SET object_key = 'elsewhere' WHERE size = 4"),
        ["checkpoint_altered"],
        [],
        "not elsewhere",
    ),
]
