from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final
from urllib.parse import urlparse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance_pipelines.ledger.checkpoint import Checkpoint, sign_checkpoint
from compliance_pipelines.ledger.errors import LedgerError
from compliance_pipelines.ledger.key_objects import KEYS, key_object_key
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, day_key, read_head
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.verification.offline import verify_copy
from tests.unit.ledger import stranger
from tests.unit.ledger.key_ledgers import NAME, KeyedLedger, forgeries, key
from tests.unit.ledger.logs import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.ledger.checkpoint import SigningKey
    from compliance_pipelines.verification.findings import Report

FORGERIES: Final = forgeries()


@contextmanager
def ledgers() -> Iterator[KeyedLedger]:
    with TemporaryDirectory() as directory:
        store = LocalObjectStore(Path(directory) / "cold")
        store.create()
        yield KeyedLedger(store)


def verified(ledger: KeyedLedger, trusted: SigningKey) -> Report:
    directory = Path(urlparse(ledger.store.uri).path)
    return verify_copy(directory, trusted.verifier_key())


def said(report: Report) -> list[str]:
    return sorted({str(finding.kind) for finding in report.findings})


def objects(ledger: KeyedLedger) -> dict[str, bytes]:
    return {info.key: ledger.store.get_bytes(info.key) for info in ledger.store.list("")}


def put(ledger: KeyedLedger, at: str, data: bytes) -> None:
    """Put an object in the place of another."""
    ledger.store.delete(at)
    ledger.store.put_bytes(at, data)


passes = st.lists(st.one_of(st.integers(1, 90), st.sampled_from(["rotate", "revoke"])), min_size=1, max_size=12)


def grown(ledger: KeyedLedger, steps: list[int | str]) -> None:
    for step in steps:
        if isinstance(step, int):
            ledger.seal(step)
        else:
            ledger.rotate(key(len(ledger.keys)), revoked=step == "revoke")


@settings(max_examples=10, deadline=None)
@given(steps=passes, data=st.data())
def test_a_ledger_whose_keys_changed_is_clean_from_any_of_them_and_to_a_stranger(
    steps: list[int | str], data: st.DataObject
) -> None:
    with ledgers() as ledger:
        grown(ledger, steps)
        trusted = data.draw(st.sampled_from(ledger.keys))
        report = verified(ledger, trusted)
        assert not report.findings, report.findings
        assert not report.undecided
        log = read_head(ledger.store, trusted.verifier_key())
        assert (log.head, list(log.keys)) == (ledger.log.head, ledger.changes)
        public_key = stranger.read_public_key(trusted.verifier_key().to_note_string())
        assert len(stranger.rebuild(objects(ledger), public_key)) == log.head.size


@pytest.mark.parametrize("forgery", FORGERIES)
@settings(max_examples=4, deadline=None)
@given(steps=passes, more=st.integers(1, 300), data=st.data())
def test_a_record_that_is_no_change_of_the_key_is_found_and_named(
    forgery: str, steps: list[int | str], more: int, data: st.DataObject
) -> None:
    with ledgers() as ledger:
        # So that there is a key that signed before, and both keys of the last step are known from either side.
        grown(ledger, [1, "rotate", *steps])
        seq = ledger.log.head.size
        ledger.now += timedelta(hours=12)
        ledger.append([FORGERIES[forgery](ledger.log.head, ledger.keys, ledger.now)], *ledger.signers)
        ledger.seal(more)
        trusted = data.draw(st.sampled_from(ledger.keys))

        report = verified(ledger, trusted)

        invalid = [finding.segment for finding in report.findings if finding.kind == "key_record_invalid"]
        assert invalid == [seq], report.findings
        with pytest.raises(LedgerError):
            read_head(ledger.store, trusted.verifier_key())
        with pytest.raises(ValueError):  # noqa: PT011 - of any kind
            stranger.rebuild(objects(ledger), stranger.read_public_key(trusted.verifier_key().to_note_string()))


@pytest.fixture
def ledger(tmp_path: Path) -> KeyedLedger:
    """Ten segments by the first key, a change, five by both."""
    store = LocalObjectStore(tmp_path / "cold")
    store.create()
    ledger = KeyedLedger(store)
    grown(ledger, [10, "rotate", 5])
    return ledger


def sign_newest(ledger: KeyedLedger, *signers: SigningKey) -> None:
    head = ledger.log.head
    put(ledger, CHECKPOINT_KEY, sign_checkpoint(Checkpoint(NAME, head.size, head.root), *signers).encode())


def test_a_checkpoint_by_the_key_before_alone_is_by_a_retired_key(ledger: KeyedLedger) -> None:
    sign_newest(ledger, key(0))
    for trusted in (key(0), key(1)):
        assert "signature_by_retired_key" in said(verified(ledger, trusted))


def test_the_key_before_beside_the_one_in_charge_is_retired_after_the_time_for_both(ledger: KeyedLedger) -> None:
    ledger.now += timedelta(days=3)
    ledger.append([record(ledger.log.head.size, ledger.now)], key(1))
    assert said(verified(ledger, key(0))) == []
    sign_newest(ledger, key(1), key(0))
    assert said(verified(ledger, key(0))) == ["signature_by_retired_key"]


def test_a_revoked_key_beside_the_one_in_charge_is_retired_at_once(ledger: KeyedLedger) -> None:
    ledger.rotate(key(2), revoked=True)
    ledger.seal(1)
    assert said(verified(ledger, key(0))) == []
    sign_newest(ledger, key(2), key(1))
    assert "signature_by_retired_key" in said(verified(ledger, key(2)))


def test_the_key_before_the_last_is_retired_beside_any_other(ledger: KeyedLedger) -> None:
    ledger.rotate(key(2))
    sign_newest(ledger, key(2), key(1), key(0))
    assert "signature_by_retired_key" in said(verified(ledger, key(2)))


def test_a_checkpoint_by_a_key_that_came_later_is_by_another_key(ledger: KeyedLedger) -> None:
    first_day = next(ledger.store.list("audit-ledger/checkpoints/"), None)
    assert first_day is not None
    (size,) = (int(ledger.store.get_bytes(first_day.key).split(b"\n")[1]),)
    text = ledger.store.get_bytes(first_day.key).decode().rpartition("\n\n")[0] + "\n"
    put(ledger, first_day.key, sign_checkpoint(Checkpoint.from_text(text), key(1)).encode())
    assert size <= 10
    assert said(verified(ledger, key(1))) == ["checkpoint_of_another_key"]


def test_a_day_of_before_the_change_stays_valid(ledger: KeyedLedger) -> None:
    assert ledger.store.stat(day_key(ledger.changes[0].sealed_at.date() - timedelta(days=1))) is not None
    assert said(verified(ledger, key(1))) == []


def test_the_object_of_a_record_that_is_gone_is_missed_and_the_bundles_tell_the_keys(ledger: KeyedLedger) -> None:
    ledger.now += timedelta(days=3)
    ledger.append([record(ledger.log.head.size, ledger.now)], key(1))
    ledger.store.delete(key_object_key(10))
    for trusted in (key(0), key(1)):
        assert said(verified(ledger, trusted)) == ["key_object_missing"]


@pytest.mark.parametrize("of_another", [False, True])
def test_the_object_of_another_record_is_found(ledger: KeyedLedger, tmp_path: Path, of_another: bool) -> None:
    data = ledger.store.get_bytes(key_object_key(10))
    if of_another:
        store = LocalObjectStore(tmp_path / "other")
        store.create()
        other = KeyedLedger(store)
        grown(other, [9, 1, "rotate"])
        data = other.store.get_bytes(key_object_key(10))
    put(ledger, key_object_key(10), data if of_another else data[:-1])
    for trusted in (key(0), key(1)):
        assert said(verified(ledger, trusted)) == ["key_object_altered"]


def test_an_object_of_a_record_that_the_ledger_does_not_have_is_found(ledger: KeyedLedger) -> None:
    change = FORGERIES["of another ledger"](ledger.log.head, ledger.keys, ledger.now)
    ledger.store.put_bytes(key_object_key(3), change.record_bytes())
    assert said(verified(ledger, key(0))) == ["key_object_altered"]
    ledger.store.delete(key_object_key(3))
    ledger.store.put_bytes(key_object_key(change.seq), change.record_bytes())
    report = verified(ledger, key(0))
    assert not report.findings
    assert "object_uncommitted" in {note.kind for note in report.notes}
    ledger.store.put_bytes(f"{KEYS}1", b"")
    assert "object_unknown" in {note.kind for note in verified(ledger, key(0)).notes}
