"""`compliance store republish`: a cold store that is behind its database, brought forward to what was signed alone."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.lost_parts import lost_parts
from compliance_pipelines.archive.repair import repair_day
from compliance_pipelines.ledger import store
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.errors import (
    ColdStoreRolledBackError,
    DatabaseRolledBackError,
    LedgerError,
    LedgerForkError,
)
from compliance_pipelines.ledger.head import LedgerHead
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.ledger.republishing import RepublishingRefusedError, how_far_behind, republish
from compliance_pipelines.ledger.rotation import rotate_key
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.ledger.store_identity import IDENTITY_KEY, StoreIdentity, StoreIdentityError
from tests.integration.recovery.restoring import AUTHOR, REASON, opened_at, remembered
from tests.integration.verification.world import ARCHIVED, HOT, KEY, copied
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from tests.integration.verification.world import World

NEW: Final = SigningKey.generate(KEY.name)


class KilledError(Exception):
    """The process ends here."""


def brought_forward(world: World, **options: object) -> int:
    """As the command does; how many checkpoints were published."""
    return republish(world.services, author=AUTHOR, reason=REASON, **options)[1]  # type: ignore[arg-type]


def assert_whole(world: World) -> None:
    """Both verifications find nothing, and nothing that they could not tell."""
    for report in (world.verify(), world.verify_offline()):
        assert (report.findings, report.undecided) == ((), ()), report


def tiles(world: World) -> set[str]:
    """The full tiles, bundles and kept checkpoints of the ledger; partial ones depend on when somebody published."""
    root = world.cold / "audit-ledger"
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    return {name for name in found if ".p/" not in name}


def test_a_store_of_nothing_gets_the_ledger_with_all_its_keys(world: World) -> None:
    """Also what the keys of before have signed; and sealing goes on."""
    world.days.append(ARCHIVED, 3)
    archive_day(world.services, ARCHIVED)
    rotate_key(world.services, NEW, compromised=True)
    rotated = replace(world, services=replace(world.services, keys=Keyring.of(NEW)))
    rotated.days.append(HOT, 2, sealed=False)
    seal_all(rotated.services)
    before = tiles(rotated)
    shutil.rmtree(rotated.cold)
    rotated.cold.mkdir()
    behind = how_far_behind(rotated.services)
    assert (behind.identity, behind.size, behind.needed) == (None, 0, True)

    assert brought_forward(rotated) == 1
    assert tiles(rotated) == before
    assert brought_forward(rotated) == 0
    missing = lost_parts(rotated.services)
    assert (missing.hot, missing.gone) == ((ARCHIVED,), ())
    assert len(repair_day(rotated.services, ARCHIVED).repaired) == 1
    seal_all(rotated.services)
    for report in (rotated.verify(),):
        assert (report.findings, report.undecided) == ((), ()), report
    ((said,),) = rotated.execute("SELECT metadata FROM audit_logs WHERE action = 'ledger.republish'")
    assert isinstance(said, dict)
    assert (said["author"], said["reason"], said["records_before"], said["identity_put"]) == (AUTHOR, REASON, 0, True)


@pytest.mark.parametrize("moment", ["tiles put", "partial tiles removed", "checkpoint put"])
def test_who_is_killed_goes_on(world: World, moment: str, tmp_path: Path) -> None:
    world.days.append(HOT, 2)
    copy = copied(world.cold, tmp_path / "copy")
    del copy
    for count in range(3):
        world.days.append(HOT, count + 1)
    shutil.rmtree(world.cold)
    shutil.copytree(tmp_path / "copy", world.cold)
    with pytest.raises(ColdStoreRolledBackError):
        seal(world.services)

    def step(done: str) -> None:
        if done == moment:
            raise KilledError

    with pytest.raises(KilledError):
        brought_forward(world, step=step)
    brought_forward(world)
    seal_all(world.services)
    assert_whole(world)


def test_days_keep_their_last_checkpoint(world: World) -> None:
    for number in range(3):
        world.days.append(HOT, number + 1)
    # The first two passes were of the day before yesterday, and of yesterday.
    rows = world.execute("SELECT size FROM ledger_checkpoints ORDER BY 1")
    for days_ago, (size,) in zip((2, 1), rows, strict=False):
        world.execute(
            "UPDATE ledger_checkpoints SET signed_at = signed_at - make_interval(days => :days) WHERE size = :size",
            days=days_ago,
            size=size,
        )
    shutil.rmtree(world.cold)
    world.cold.mkdir()
    assert brought_forward(world) == 3


def test_nobody_brings_a_store_forward_to_what_was_not_signed(world: World) -> None:
    world.days.append(HOT, 2)
    world.days.append(HOT, 3)
    shutil.rmtree(world.cold)
    world.cold.mkdir()
    world.execute("UPDATE ledger_segments SET entry_count = entry_count + 1 WHERE seq = 1")
    with pytest.raises(LedgerError):
        brought_forward(world)
    # All that the database says fits together again, but for the signature.
    with world.services.engine.connect() as connection:
        head = LedgerHead().extended(list(store.records(connection)))
    values = {"root": head.root, "frontier": head.frontier, "size": head.size}
    world.execute("UPDATE ledger_checkpoints SET root = :root, frontier = :frontier WHERE size = :size", **values)
    with pytest.raises(LedgerForkError, match="was signed over"):
        brought_forward(world)
    assert not (world.cold / "audit-ledger" / "checkpoint").exists()


def test_another_place_is_refused(world: World, postgres_server: EmbeddedPostgres, tmp_path: Path) -> None:
    world.days.append(HOT, 2)
    elsewhere = copied(world.cold, tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    there = replace(world.services, store=elsewhere)
    (tmp_path / "elsewhere" / "letters.txt").write_text("somebody else's", encoding="utf-8")
    with pytest.raises(RepublishingRefusedError, match="none of ours"):
        how_far_behind(there)
    (tmp_path / "elsewhere" / "letters.txt").unlink()
    stranger = StoreIdentity(KEY.name, uuid.uuid4(), uuid.uuid4(), datetime.now(UTC))
    elsewhere.put_bytes(IDENTITY_KEY, stranger.to_note(KEY))
    with pytest.raises(StoreIdentityError):
        how_far_behind(there)
    # A database that is behind is not for this command.
    with remembered(postgres_server, world) as moment:
        world.days.append(HOT, 1)
        with opened_at(postgres_server, moment, world) as older, pytest.raises(DatabaseRolledBackError):
            brought_forward(older)
