"""Every damage has its own kind and its own message, with the database and, where it can be seen there, without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.verification.damages import CATALOGUE, DAMAGES, HOT_ROWS, LEDGER, PARTS, Damage
from tests.integration.verification.world import ARCHIVED, HOT, OTHER_ARCHIVED, PURGED, kinds

if TYPE_CHECKING:
    from compliance_pipelines.verification.findings import Report
    from tests.integration.verification.world import World


def _messages(report: Report) -> str:
    return "\n".join(f"{finding.kind}: {finding.message}" for finding in report.findings)


def _id(damage: Damage) -> str:
    return damage.name.replace(" ", "_")


@pytest.mark.parametrize("damage", [*HOT_ROWS, *PARTS, *CATALOGUE], ids=_id)
def test_damage_to_a_day_is_found_and_named_also_when_the_day_alone_is_verified(world: World, damage: Damage) -> None:
    report = _find_and_name(world, damage)
    of_days = [finding for finding in report.findings if finding.day is not None]
    days = {finding.day for finding in of_days if finding.day is not None}
    alone = world.verify(*days).findings if days else ()
    assert sorted(map(str, alone)) == sorted(map(str, of_days))


@pytest.mark.parametrize("damage", LEDGER, ids=_id)
def test_damage_to_the_ledger_is_found_and_named(world: World, damage: Damage) -> None:
    _find_and_name(world, damage)


def _find_and_name(world: World, damage: Damage) -> Report:
    damage.do(world)
    online, offline = world.verify(), world.verify_offline()
    assert kinds(online) == damage.online, _messages(online)
    assert damage.says in _messages(online)
    assert kinds(offline) == damage.offline, _messages(offline)
    if damage.offline:
        assert (damage.says_offline or damage.says) in _messages(offline)
    assert (online.ok, offline.ok) == (not damage.online, not damage.offline)
    assert not online.undecided
    assert not offline.undecided
    return online


@pytest.mark.parametrize("column", ["root", "sealed_at", "tx_from"])
def test_a_day_alone_is_compared_with_the_records_that_were_published(world: World, column: str) -> None:
    value = {"root": "decode(repeat('00', 32), 'hex')", "sealed_at": "sealed_at + interval '1 us'", "tx_from": "0"}
    world.execute(f"UPDATE ledger_segments SET {column} = {value[column]} WHERE seq = 3")
    (finding,) = world.verify(HOT).findings
    assert (finding.kind, finding.segment) == ("segment_altered", 3)
    (finding,) = world.verify(PURGED).findings
    assert (finding.kind, finding.segment) == ("segment_altered", 3)


def test_several_damages_at_once_are_all_named(world: World) -> None:
    together = [
        "an entry is altered in the hot store",
        "an entry is inserted below the horizon on a day that has no segment",
        "an object is altered",
        "the only object of a purged day is missing",
        "a segment is taken out of its part",
        "the root of a hot segment is altered in the database",
        "a segment record is altered in the entry bundle",
        "a partial tile of before is none of the ledger's",
        "a checkpoint in the database is forked",
        "the database says that a checkpoint was put elsewhere",
    ]
    done = [damage for damage in DAMAGES if damage.name in together]
    assert len(done) == len(together)
    for damage in done:
        damage.do(world)
    report = world.verify()
    assert kinds(report) == sorted(kind for damage in done for kind in damage.online)
    found = _messages(report)
    for damage in done:
        assert damage.says in found, damage.name


def test_a_damaged_day_does_not_hide_another_one(world: World) -> None:
    world.alter_object(PURGED)
    world.alter_manifest(ARCHIVED)
    world.remove(world.object_path(OTHER_ARCHIVED))
    assert {finding.day for finding in world.verify().findings} == {PURGED, ARCHIVED, OTHER_ARCHIVED}
    assert {finding.day for finding in world.verify_offline().findings} == {PURGED, ARCHIVED, OTHER_ARCHIVED}
