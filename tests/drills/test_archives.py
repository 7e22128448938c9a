"""Drills: archives, or what reads and signs them, are gone."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.archive.export import archive_day
from tests.drills.site import AUTHOR, REASON
from tests.integration.archive.days import overwrite
from tests.integration.verification.world import ARCHIVED, HOT, KEY, OTHER_ARCHIVED, PURGED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.drills.site import Site

REPUBLISH: Final = f'compliance store republish --author "{AUTHOR}" --reason "{REASON}"'


def key_in_a_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The signing key in a file, as a production system has it."""
    path = site.directory / "ledger.key"
    path.write_text(KEY.to_note_string(), encoding="utf-8")
    path.chmod(0o600)
    monkeypatch.delenv("LEDGER_SIGNING_KEY")
    monkeypatch.setenv("LEDGER_SIGNING_KEY_FILE", str(path))
    return path


@pytest.mark.drill("bucket-lost", "every object of the bucket, and there is no copy")
def test_a_bucket_is_lost_without_a_copy(site: Site) -> None:
    steps = site.steps
    steps.values["DAY"] = str(ARCHIVED)
    rows = site.world.days.hot_rows(ARCHIVED)
    shutil.rmtree(site.cold)
    site.cold.mkdir()

    assert "has no identity" in steps.run("compliance store show", status=1).err
    planned = steps.run("compliance store republish --dry-run", status=1)
    assert f"their objects from a copy: {PURGED}, {OTHER_ARCHIVED}" in planned.out
    assert f"writes them again: {PURGED}, {ARCHIVED}" in planned.out
    assert not any(site.cold.iterdir())
    steps.run(REPUBLISH, status=1)
    steps.run("compliance keys verify --repair")
    steps.run("compliance repair DAY")
    steps.run("compliance seal")
    verified = steps.run("compliance verify --all", status=1)
    for day in (PURGED, OTHER_ARCHIVED):
        assert f"{day}" in verified.out + verified.err
    findings = [line for line in (verified.out + verified.err).splitlines() if str(ARCHIVED) in line]
    assert not [line for line in findings if "missing" in line], findings
    assert site.world.days.hot_rows(ARCHIVED) == rows
    assert len(site.world.days.cold_rows(ARCHIVED)) == len(rows)


@pytest.mark.drill("bucket-copy", "the bucket; a replica is there that was behind by some hours")
def test_a_copy_that_is_behind_takes_the_place_of_the_bucket(site: Site) -> None:
    steps = site.steps
    copy = site.copy_of_the_store()
    steps.values["DAY"] = str(HOT)
    site.world.days.append(HOT, 5)
    archive_day(site.world.services, HOT)
    rows = site.world.days.cold_rows(HOT)
    shutil.rmtree(site.cold)

    steps.run("compliance ledger key > ledger.pub")
    steps.run("compliance verify --offline COPY --public-key ledger.pub --keyring KEYRING")
    steps.run("export AUDIT_COLD_STORAGE_PATH=COPY")
    assert "was put back to an older state" in steps.run("compliance seal", status=1).err
    assert f"writes them again: {HOT}" in steps.run(REPUBLISH).out
    steps.run("compliance keys verify --repair")
    steps.run("compliance repair DAY")
    steps.run("compliance seal")
    steps.run("compliance verify --all")
    with site.opened_at(site.server, site.database, copy) as world:
        assert world.days.cold_rows(HOT) == rows


@pytest.mark.drill("archive-damaged", "one archive, to a bit that rotted; a copy of the bucket is there")
def test_an_archive_that_rotted_is_written_again(site: Site) -> None:
    steps = site.steps
    steps.values["DAY"] = str(OTHER_ARCHIVED)
    site.copy_of_the_store()
    path = site.world.object_path(OTHER_ARCHIVED)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    overwrite(path, bytes(data))

    assert str(OTHER_ARCHIVED) in steps.run("compliance scrub DAY", status=1).err
    steps.run("compliance repair DAY --from-store COPY")
    steps.run("compliance verify DAY")
    assert "8" in steps.run("compliance restore DAY").out


@pytest.mark.drill("keyring-lost", "the keyring that wraps the keys of archives; a copy is elsewhere")
def test_a_keyring_is_lost_and_its_copy_found(site: Site) -> None:
    steps = site.steps
    steps.values["DAY"] = str(OTHER_ARCHIVED)
    site.command.set(AUDIT_ARCHIVE_KEYRING_FILE=str(site.directory / "gone"))

    assert "keyring" in steps.run("compliance restore DAY", status=1).err
    steps.run("compliance keys verify", status=1)
    steps.run("export AUDIT_ARCHIVE_KEYRING_FILE=KEYRING")
    steps.run("compliance keys verify")
    steps.run("compliance restore DAY")


@pytest.mark.drill("signing-key-lost", "the ledger's signing key; a copy is elsewhere")
def test_the_signing_key_is_lost_and_its_copy_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, path = site.steps, key_in_a_file(site, monkeypatch)
    kept = site.directory / "kept.key"
    path.rename(kept)
    steps.values |= {"PUBLIC_KEY": KEY.verifier_key().to_note_string(), "COPY_OF_KEY": str(kept)}
    site.world.days.append(HOT, 2, sealed=False)

    assert "ledger.key" in steps.run("compliance seal", status=1).err
    monkeypatch.delenv("LEDGER_SIGNING_KEY_FILE")
    steps.run("export LEDGER_PUBLIC_KEY=PUBLIC_KEY")
    steps.run("compliance verify --all")
    steps.run("export LEDGER_SIGNING_KEY_FILE=COPY_OF_KEY")
    assert "5 entries in 2 segments" in steps.run("compliance seal").out


@pytest.mark.drill("signing-key-stolen", "the secrecy of the ledger's signing key")
def test_a_stolen_signing_key_is_revoked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = site.steps
    key_in_a_file(site, monkeypatch)
    steps.run("compliance ledger new-key new.key --name NAME")
    steps.run("compliance verify --all")
    assert "is revoked" in steps.run("compliance ledger rotate-key new.key --compromised").err
    steps.run("export LEDGER_SIGNING_KEY_FILE=new.key")
    steps.run("compliance seal")
    steps.run("compliance verify --all")
