"""One bad file is one finding, named for what is known of it, and nothing that it says of itself is believed."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive import readback
from compliance_pipelines.archive.layout import object_key
from compliance_pipelines.archive.lookup import ArchiveEntryFinder
from compliance_pipelines.archive.manifest import parse_manifest
from compliance_pipelines.archive.parquet import PartLabel, UnreadableParquetError
from compliance_pipelines.archive.readback import PartDamagedError
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.ledger.proofs import prove
from tests.integration.archive.days import overwrite
from tests.integration.verification.world import ARCHIVED, KEY, OTHER_ARCHIVED, PURGED, kinds
from tests.support.hostile_files import bomb, with_a_name_that_is_no_text, with_other_rows
from tests.unit.archive.examples import row, write_part

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from compliance_pipelines.verification.findings import Report
    from tests.integration.verification.world import World


def _both(world: World) -> tuple[Report, Report]:
    return world.verify(), world.verify_offline()


def _only(report: Report) -> str:
    (finding,) = report.findings
    assert not report.undecided
    return f"{finding.kind}: {finding.message}"


def _forge(path: Path, change: Callable[[bytes], bytes]) -> None:
    overwrite(path, change(path.read_bytes()))


def test_a_column_name_that_is_no_text_is_one_finding(world: World) -> None:
    _forge(world.object_path(PURGED), with_a_name_that_is_no_text)
    for report in (*_both(world), world.verify(PURGED)):
        assert _only(report).startswith("object_altered: audit-archives/")
        assert report.checked.parts == 4 or report.checked.days == 1


def test_a_column_name_that_is_no_text_ends_restore_and_proof_in_one_line(world: World) -> None:
    _forge(world.object_path(OTHER_ARCHIVED), with_a_name_that_is_no_text)
    with pytest.raises(PartDamagedError) as restored:
        restore_day(world.services, OTHER_ARCHIVED)
    with pytest.raises(UnreadableParquetError, match="is not the object that was committed") as proved:
        prove(world.services, "any", finder=ArchiveEntryFinder(world.services), day=OTHER_ARCHIVED)
    for error in (restored, proved):
        assert str(error.value).isprintable()


def test_a_bomb_is_one_finding_and_takes_no_memory_here(world: World) -> None:
    overwrite(world.object_path(ARCHIVED), bomb())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert _only(world.verify_offline()).startswith("object_altered")
    assert _only(world.verify(ARCHIVED)).startswith("object_altered")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_bomb_that_no_manifest_vouches_for_is_a_finding_too(bucket: World) -> None:
    overwrite(bucket.object_path(ARCHIVED), bomb())
    bucket.remove(bucket.manifest_path(ARCHIVED))
    assert kinds(bucket.verify_offline()) == ["manifest_missing", "object_altered"]


def test_a_smaller_forged_file_is_altered_and_what_it_lacks_is_said(world: World) -> None:
    path = world.object_path(ARCHIVED)
    size = path.stat().st_size
    _forge(path, lambda data: with_other_rows(data, 16))
    assert path.stat().st_size < size
    for report in _both(world):
        said = _only(report)
        assert said.startswith("object_altered: audit-archives/")
        assert (
            "does not hold what was sealed (1 entry was deleted from segment 4, which had 7), and was altered" in said
        )
        assert f"it has {path.stat().st_size:,} bytes, committed are {size:,}" in said


@pytest.mark.parametrize("data", [b"forged", b"\0" * 500, b"PAR1" + b"\0" * 500 + b"PAR1", b"<html>"])
def test_a_smaller_file_of_anything_is_altered(bucket: World, data: bytes) -> None:
    overwrite(bucket.object_path(ARCHIVED), data)
    assert _only(bucket.verify_offline()).startswith("object_altered")


@pytest.mark.parametrize("left", [0, 2, 4, 1_000])
def test_a_file_that_was_cut_off_is_truncated(bucket: World, left: int) -> None:
    _forge(bucket.object_path(ARCHIVED), lambda data: data[:left])
    said = _only(bucket.verify_offline())
    assert said.startswith("object_truncated")
    assert "and the end of a Parquet file is not among them" in said


def test_the_label_of_a_forged_file_is_not_believed(world: World, tmp_path: Path) -> None:
    forged = tmp_path / "forged"
    write_part(forged, [row(1)], PartLabel.of(OTHER_ARCHIVED, 1, bytes(32)))
    overwrite(world.object_path(ARCHIVED), forged.read_bytes())
    for report in _both(world):
        assert _only(report).startswith("object_altered")
        assert str(OTHER_ARCHIVED) not in _only(report)


def test_the_same_entries_in_another_file_are_said_to_be_the_same(world: World) -> None:
    _forge(world.object_path(ARCHIVED), lambda data: with_other_rows(data, 17))
    for report in _both(world):
        assert "holds every entry as it was sealed in another file than was committed" in _only(report)


def _sign_canonical_bytes(world: World) -> bytes:
    path = world.manifest_path(ARCHIVED)
    manifest = parse_manifest(path.read_bytes(), KEY.verifier_key(), name=path.name)
    data = replace(manifest, canonical_bytes=manifest.canonical_bytes + 1).to_bytes(KEY)
    overwrite(path, data)
    return data


def test_the_canonical_bytes_of_a_signed_manifest_are_compared(world: World) -> None:
    data = _sign_canonical_bytes(world)
    said = _only(world.verify_offline())
    assert said.startswith("manifest_altered")
    assert "canonical bytes, and its manifest says" in said
    world.execute(
        "UPDATE archived_audit_logs SET canonical_bytes = canonical_bytes + 1, manifest_sha256 = :sha256"
        " WHERE day = :day",
        sha256=hashlib.sha256(data).hexdigest(),
        day=ARCHIVED,
    )
    assert _only(world.verify(ARCHIVED)).startswith("manifest_altered")


def test_the_canonical_bytes_of_the_catalogue_are_compared_where_the_manifest_is_gone(world: World) -> None:
    world.remove(world.manifest_path(ARCHIVED))
    world.execute("UPDATE archived_audit_logs SET canonical_bytes = 1 WHERE day = :day", day=ARCHIVED)
    report = world.verify(ARCHIVED)
    assert kinds(report) == ["catalogue_altered", "manifest_missing"]
    assert "and its catalogue says 1" in "".join(finding.message for finding in report.findings)


def test_what_lies_among_the_objects_and_is_none_is_noted_and_not_opened(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives, ledger = world.cold / "audit-archives", world.cold / "audit-ledger"
    (archives / "empty").mkdir()
    (archives / "a\x1b[31mred").write_bytes(b"odd")
    (archives / "dir\nline").mkdir()
    os.mkfifo(archives / "pipe")
    (archives / "link").symlink_to("/etc/passwd")
    (ledger / "stray.json").write_bytes(b"{}")
    (ledger / "zz").mkdir()
    (ledger / "zz" / "deeper.json").write_bytes(b"{}")
    (world.cold / object_key(ARCHIVED, 9, bytes(32))).mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(archives)  # the address of a socket has to be short
        listening.bind("s")
        reports = _both(world)
    for report in reports:
        assert report.ok
        notes = [note.message for note in report.notes if note.kind == "object_unknown"]
        assert all(note.isprintable() for note in notes)
        natures = "\n".join(sorted(notes))
        for nature in ("an empty directory", "a name that no object can have", "a pipe", "a symbolic link", "a socket"):
            assert nature in natures
        assert "x1b[31mred" in natures
        assert "dir\\nline" in natures
        assert "audit-ledger/stray.json" in natures
        assert "audit-ledger/zz/deeper.json" in natures
        assert len(notes) == 9


def test_a_fault_of_ours_with_one_object_hides_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    intact = readback.copy_hashed
    key = world.object_path(ARCHIVED).relative_to(world.cold).as_posix()

    def faulty(store: object, of: str, *arguments: object) -> object:
        if of == key:
            raise ZeroDivisionError("division by \x1b[31mzero")
        return intact(store, of, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(readback, "copy_hashed", faulty)
    world.alter_object(PURGED)
    for report in _both(world):
        assert kinds(report) == ["object_altered"]
        (undecided,) = report.undecided
        assert "could not be read: ZeroDivisionError: division by \\x1b[31mzero" in undecided.message
        json.dumps(report.to_json())


@pytest.mark.parametrize(
    "data",
    [b"[" * 1_000_000, b'{"a":' * 300_000, b"[]," * 5_000_000, b'{"checkpoint":"' + b"\\u0000" * 100_000],
    ids=["depth", "depth of objects", "many values", "text without end"],
)
def test_small_documents_take_no_memory_however_they_are_made(bucket: World, data: bytes) -> None:
    overwrite(bucket.checkpoint_path, data)
    overwrite(bucket.manifest_path(PURGED), data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert kinds(bucket.verify_offline()) == ["checkpoint_altered", "manifest_altered"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
