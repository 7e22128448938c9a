"""A copy of the bucket may come from anybody: whatever it holds is a finding or a clear error, never a traceback."""

from __future__ import annotations

import json
import os
import random
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.store_identity import IDENTITY_KEY, StoreIdentityError
from compliance_pipelines.ledger.tiles import ENTRIES, Tile
from compliance_pipelines.verification.offline import verify_copy
from tests.integration.archive.days import overwrite
from tests.integration.verification.world import ARCHIVED, BUNDLE, KEY, OTHER_ARCHIVED, PURGED, SIZES, kinds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from compliance_pipelines.verification.findings import Report
    from tests.integration.verification.world import World

_NO_JSON: Final = [
    b"",
    b"\x00" * 100,
    b"\xff\xfe\xff",
    b"null",
    b"[]",
    b"{}",
    b'"text"',
    b"NaN",
    b"[" * 200_000,
    b'{"a":' * 200_000,
    b"1" * 10_000,
    b'{"body":{},"signature":""}\n',
    b'{"body":' + b"[" * 100_000 + b',"signature":""}\n',
    b'{"checkpoint":"","previous_size":0,"segments":[]}\n',
    b'{"checkpoint":"\\ud800\\n\\n","previous_size":0,"segments":[{}]}\n',
    b'{"checkpoint":null,"previous_size":"x","segments":5}\n',
    b'{"checkpoint":"","previous_size":-1,"segments":[[]]}\n',
    b'{"checkpoint":"\x1b[31m","previous_size":1e400,"segments":{}}\n',
]


def _assert_harmless(report: Report) -> None:
    """Everything that is said can be printed and has an end."""
    for text in [*(finding.message for finding in report.findings), *(note.message for note in report.notes)]:
        assert text.isprintable()
        assert len(text) < 5_000
    json.dumps(report.to_json()).encode("ascii")


def _verified(bucket: World) -> Report:
    report = bucket.verify_offline()
    _assert_harmless(report)
    return report


@pytest.mark.parametrize("data", _NO_JSON, ids=range(len(_NO_JSON)))
def test_what_is_no_json_of_ours_is_a_finding(bucket: World, data: bytes) -> None:
    overwrite(bucket.checkpoint_path, data)
    overwrite(bucket.manifest_path(PURGED), data)
    report = _verified(bucket)
    assert kinds(report) == ["checkpoint_altered", "manifest_altered"]


@pytest.mark.parametrize(
    "values",
    [
        {"entry_count": 0},
        {"entry_count": -5},
        {"entry_count": 2**63 - 1},
        {"tx_to": 0},
        {"seq": 2**63 - 1},
        {"seq": -1},
        {"day": date.max},
        {"sealed_at": datetime.max.replace(tzinfo=UTC)},
    ],
)
def test_a_record_with_impossible_values_is_a_finding(bucket: World, values: dict[str, object]) -> None:
    bucket.alter_record(4, **values)
    assert kinds(_verified(bucket)) == ["bundle_altered"]


@pytest.mark.parametrize("at", [9, 85])
def test_a_record_with_an_impossible_time_is_a_finding(bucket: World, at: int) -> None:
    """A day, and a time, of no year that there is."""
    data = bytearray(bucket.tile_path(BUNDLE).read_bytes())
    data[4 * 95 + 2 + at] = 0x7F
    overwrite(bucket.tile_path(BUNDLE), bytes(data))
    assert kinds(_verified(bucket)) == ["bundle_altered"]


def _giant(path: Path) -> None:
    """A file of a tebibyte that takes no room."""
    path.unlink()
    with path.open("wb") as file:
        file.truncate(2**40)


def test_giant_files_are_neither_copied_nor_loaded(bucket: World) -> None:
    _giant(bucket.object_path(PURGED))
    _giant(bucket.manifest_path(OTHER_ARCHIVED))
    _giant(bucket.checkpoint_path)
    for tile in (BUNDLE, Tile(0, 0, 5), Tile(ENTRIES, 0, 4)):
        _giant(bucket.tile_path(tile))
    report = _verified(bucket)
    assert kinds(report) == ["bundle_altered", "checkpoint_altered", "manifest_altered", "object_altered"]
    messages = "\n".join(finding.message for finding in report.findings)
    assert "1,099,511,627,776 bytes, and no manifest has more than" in messages
    assert "it has 1,099,511,627,776 bytes, committed are" in messages


def test_a_giant_file_that_no_manifest_vouches_for_is_not_copied_either(bucket: World) -> None:
    _giant(bucket.object_path(PURGED))
    bucket.remove(bucket.manifest_path(PURGED))
    report = _verified(bucket)
    assert (report.ok, kinds(report)) == (False, ["manifest_missing"])
    (undecided,) = report.undecided
    assert "it has 1,099,511,627,776 bytes, and" in undecided.message


def test_a_larger_object_of_another_day_is_called_swapped(bucket: World) -> None:
    overwrite(bucket.object_path(OTHER_ARCHIVED), bucket.object_path(PURGED).read_bytes())
    (finding,) = _verified(bucket).findings
    assert (finding.kind, finding.day) == ("object_swapped", OTHER_ARCHIVED)
    assert f"holds part 1 of {PURGED}" in finding.message


def _link_to_original(path: Path) -> None:
    original = path.with_name(path.name + ".original")
    path.rename(original)
    path.symlink_to(original)


def _link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("what", [_link_to_original, _link_to_itself, _pipe, _directory])
def test_what_is_no_file_is_missing(bucket: World, what: Callable[[Path], None]) -> None:
    for path in (bucket.object_path(PURGED), bucket.manifest_path(OTHER_ARCHIVED), bucket.checkpoint_path):
        what(path)
    assert kinds(_verified(bucket)) == ["checkpoint_missing", "manifest_missing", "object_missing"]


def test_a_directory_that_leads_out_of_the_copy_is_not_followed(bucket: World, tmp_path: Path) -> None:
    archives = bucket.cold / "audit-archives"
    archives.rename(tmp_path / "elsewhere")
    archives.symlink_to(tmp_path / "elsewhere")
    report = _verified(bucket)
    assert (report.checked.parts, report.checked.segments) == (0, SIZES[-1])


_ODD_NAMES: Final = [
    b"audit-ledger/checkpoints/abc.json",
    b"audit-ledger/tile/0/0",
    "audit-ledger/tile/0/00\u0665".encode(),
    b"audit-ledger/tile/\xff\xfe",
    b"audit-ledger/checkpoints/\x1b[31mred",
    b"audit-archives/2026/07/audit-logs-2026-07-32.1-00000000.0.parquet",
    "audit-archives/2026/07/audit-logs-2026-07-01.\u0661-00000000.0.parquet".encode(),
    b"audit-archives/9999/99/x",
    b"audit-archives/.object-store",
    "audit-archives/\u202etxt.exe".encode(),
]


def test_odd_names_are_noted(bucket: World) -> None:
    for name in _ODD_NAMES:
        path = bucket.cold / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"odd")
    report = _verified(bucket)
    assert report.findings == ()
    unknown = {note.key for note in report.notes if note.kind == "object_unknown"}
    assert len(unknown) == len(_ODD_NAMES)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("audit-ledger/checkpoints/2026/07/2026-07-01", "checkpoint_altered"),
        ("audit-ledger/tile/0/000.p/3", "tile_altered"),
        ("audit-ledger/tile/entries/000.p/3", "bundle_altered"),
        (
            "audit-archives/2026/07/audit-logs-2026-07-01.9999999999999999999999-00000000.0.manifest.json",
            "manifest_altered",
        ),
    ],
)
def test_a_forged_object_under_a_possible_key_is_a_finding(bucket: World, name: str, kind: str) -> None:
    path = bucket.cold / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"{}\n")
    assert kinds(_verified(bucket)) == [kind]


def test_an_object_that_no_manifest_ever_knew_is_a_note(bucket: World) -> None:
    name = f"audit-archives/{ARCHIVED:%Y/%m}/audit-logs-{ARCHIVED}.9-00000000.0.parquet"
    (bucket.cold / name).write_bytes(b"PAR1")
    report = _verified(bucket)
    assert report.ok
    assert [note.message for note in report.notes if note.kind == "object_uncommitted"] == [
        f"{name} has no manifest; its key belongs to no sealed segments"
    ]


def test_the_wrong_public_key_is_told_apart_once_by_the_names_of_both_ledgers(bucket: World) -> None:
    other = SigningKey.generate("auditor.example/key").verifier_key()
    with pytest.raises(StoreIdentityError, match=f"of ledger {KEY.name}, and the key in use is of ledger {other.name}"):
        verify_copy(bucket.cold, other)


def test_without_an_identity_the_wrong_public_key_is_a_finding_for_each_checkpoint_and_each_manifest(
    bucket: World,
) -> None:
    bucket.remove(bucket.cold / IDENTITY_KEY)
    report = verify_copy(bucket.cold, SigningKey.generate("auditor.example/key").verifier_key())
    assert kinds(report) == ["checkpoint_of_another_key", *["manifest_altered"] * 4]
    assert [str(note.kind) for note in report.notes].count("segments_unconfirmed") == 1


def test_every_altered_byte_anywhere_in_the_bucket_is_found_in_both_ways(world: World) -> None:
    """Not a byte of the bucket can be changed unnoticed: a sample of them, spread over every object."""
    chance = random.Random(20261124)  # noqa: S311 - which bytes are tried is no secret
    paths = sorted(path for path in world.cold.rglob("audit-*/**/*") if path.is_file())
    assert len(paths) == 1 + 2 * len(SIZES) + 2 * 4 + 1
    for path in paths:
        original = path.read_bytes()
        for number, position in enumerate(chance.sample(range(len(original)), 2)):
            altered = bytearray(original)
            altered[position] ^= 1 << chance.randrange(8)
            overwrite(path, bytes(altered))
            ways: list[Callable[[], Report]] = (
                [world.verify_offline] if number else [world.verify_offline, world.verify]
            )
            for verified in ways:
                try:
                    report = verified()
                except StoreIdentityError:
                    assert path == world.cold / IDENTITY_KEY
                    continue
                assert not report.ok, (path.name, position)
                _assert_harmless(report)
        overwrite(path, original)
    assert world.verify_offline().ok


def test_every_missing_object_is_found_in_both_ways(world: World) -> None:
    """But for partial tiles of before, which nobody needs any more.

    A copy without its identity gets a note: the entries are what they were.
    """
    unnoticed = []
    for path in sorted(path for path in world.cold.rglob("audit-*/**/*") if path.is_file()):
        if path.parent.suffix == ".p" and path.name != str(SIZES[-1]):
            continue
        original = path.read_bytes()
        path.unlink()
        if path == world.cold / IDENTITY_KEY:
            with pytest.raises(StoreIdentityError, match="has no identity"):
                world.verify()
        else:
            assert not world.verify().ok, path.name
        if world.verify_offline().ok:
            unnoticed.append(path)
        path.write_bytes(original)
    assert unnoticed == [world.cold / IDENTITY_KEY]


def test_a_copy_that_cannot_be_listed_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "nothing"):
        with pytest.raises(ComplianceError, match="is not a directory"):
            verify_copy(path, KEY.verifier_key())


def test_both_manifests_of_a_day_may_be_gone_and_its_objects_are_checked_all_the_same(bucket: World) -> None:
    bucket.remove(bucket.manifest_path(PURGED, 2), bucket.manifest_path(PURGED, 1))
    bucket.alter_object(PURGED, 2)
    report = _verified(bucket)
    assert kinds(report) == ["manifest_missing", "manifest_missing", "object_altered"]
    assert report.checked.archived_entries >= 17 + 8
