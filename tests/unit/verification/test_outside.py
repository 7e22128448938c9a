"""Of a copy: what witnesses cosigned and an authority stamped is checked, and what nobody outside has seen is told."""

from __future__ import annotations

import base64
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, COSIGNED_KEY, EMPTY_LOG, day_key, read_head
from compliance_pipelines.ledger.timestamping import read_authority, stamp_days, stamp_key
from compliance_pipelines.ledger.witnesses import read_policy
from compliance_pipelines.ledger.witnessing import ask_witnesses
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.settings import ConfigurationError
from compliance_pipelines.verification.findings import Kind, NoteKind
from compliance_pipelines.verification.offline import verify_copy
from compliance_pipelines.verification.outside import Expected
from tests.support.replies import Reply
from tests.support.time_stamp_authority import TimeStampAuthority, time_stamp_authority
from tests.support.witness import Witness, policy, witness
from tests.unit.ledger.logs import KEY, extend, record
from tests.unit.ledger.outside import services_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.ledger.log_reading import LogHead
    from compliance_pipelines.verification.findings import Finding, Note, Report

OUTSIDE: Final = {
    Kind.COSIGNATURE_INVALID,
    Kind.COSIGNATURES_MISSING,
    Kind.TIME_STAMP_INVALID,
    Kind.TIME_STAMP_MISSING,
}


@dataclass
class Copy:
    """A log of three days, sealed once on each, cosigned and stamped; and whose word counts."""

    directory: Path
    log: LogHead
    moments: list[datetime]
    witnesses: tuple[Witness, Witness]
    authority: TimeStampAuthority
    expected: Expected

    @property
    def store(self) -> LocalObjectStore:
        return LocalObjectStore(self.directory)

    @property
    def days(self) -> list[date]:
        return [moment.date() for moment in self.moments]

    def look_outside(self) -> None:
        services = services_of(
            self.store,
            clock=system_clock,
            ledger_witnesses=policy(*self.witnesses, quorum="all"),
            ledger_tsa_url=self.authority.url,
            ledger_tsa_certificates=self.authority.certificates,
        )
        ask_witnesses(services)
        stamp_days(services)

    def seal(self, after: timedelta, variant: int = 0) -> None:
        """Once more, so long after the last time."""
        self.moments.append(self.moments[-1] + after)
        log = read_head(self.store, KEY.verifier_key())
        self.log = extend(self.store, log, [record(log.head.size, self.moments[-1], variant=variant)])

    def verify(self, expected: Expected | None = None) -> Report:
        return verify_copy(self.directory, KEY.verifier_key(), expected=self.expected if expected is None else expected)

    def overwrite(self, key: str, data: bytes) -> None:
        self.store.delete(key)
        self.store.put_bytes(key, data)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    directory = tmp_path_factory.mktemp("outside")
    LocalObjectStore(directory / "cold").create()
    today = datetime.combine(system_clock().date(), time(0, 0, 1), UTC)
    vkey = KEY.verifier_key().to_note_string()
    with ExitStack() as stack:
        one, two = (stack.enter_context(witness(f"w{number}.example", vkey)) for number in (1, 2))
        authority = stack.enter_context(time_stamp_authority(directory / "tsa"))
        expected = Expected(read_policy(policy(one, two, quorum="all")), read_authority(authority.certificates))
        copy = Copy(directory / "cold", EMPTY_LOG, [today - timedelta(days=3)], (one, two), authority, expected)
        for _ in range(3):
            copy.seal(timedelta(days=1))
            copy.look_outside()
        copy.moments.pop(0)
        yield copy


@pytest.fixture
def copy(made: Copy, tmp_path: Path) -> Iterator[Copy]:
    """One to damage; the witnesses know afterwards what they knew before."""
    shutil.copytree(made.directory, tmp_path / "cold")
    before = [replace(each.logs[KEY.name]) for each in made.witnesses]
    yield replace(made, directory=tmp_path / "cold", moments=list(made.moments))
    for each, known in zip(made.witnesses, before, strict=True):
        each.logs[KEY.name] = known
        each.instead = None


def findings(report: Report) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind in OUTSIDE]


def notes(report: Report, *kinds: NoteKind) -> list[Note]:
    return [note for note in report.notes if note.kind in kinds]


def test_a_ledger_that_everybody_saw_is_in_order_and_says_who_and_when(copy: Copy) -> None:
    report = copy.verify()

    assert report.ok
    (cosigned,) = notes(report, NoteKind.COSIGNED)
    (stamped,) = notes(report, NoteKind.TIME_STAMPED)
    assert cosigned.message.startswith("up to segment 2 the ledger is cosigned: w1 at ")
    assert "w2 at " in cosigned.message
    assert stamped.message.startswith(f"up to {copy.days[1]} the ledger is stamped, at ")
    assert not notes(report, NoteKind.COSIGNATURES_PENDING, NoteKind.TIME_STAMP_PENDING, NoteKind.OBJECT_UNKNOWN)


def test_who_knows_nobody_outside_is_told_of_stamps_that_were_not_checked(copy: Copy) -> None:
    report = copy.verify(Expected())

    assert report.ok
    (unchecked,) = notes(report, NoteKind.TIME_STAMPS_UNCHECKED)
    assert unchecked.message.startswith("2 time stamps lie beside")
    assert not notes(report, NoteKind.COSIGNED, NoteKind.OBJECT_UNKNOWN)


@pytest.mark.parametrize("key", ["checkpoint", "cosigned", "day"])
def test_an_altered_line_of_a_known_witness_is_a_finding(copy: Copy, key: str) -> None:
    place = {"checkpoint": CHECKPOINT_KEY, "cosigned": COSIGNED_KEY, "day": day_key(copy.days[0])}[key]
    note = copy.store.get_bytes(place).decode()
    at = note.index(" w2.example ")
    start = note.index(" ", at + 1) + 1
    data = bytearray(base64.b64decode(note[start : note.index("\n", start)]))
    data[20] ^= 1
    altered = note[:start] + base64.b64encode(bytes(data)).decode() + note[note.index("\n", start) :]
    copy.overwrite(place, altered.encode())

    finding, *others = findings(copy.verify())

    assert (finding.kind, finding.key) == (Kind.COSIGNATURE_INVALID, place)
    assert [other.kind for other in others] == [Kind.TIME_STAMP_INVALID] * (key == "day"), "it is over all bytes"
    assert "the line of the witness w2 is not its cosignature" in finding.message


def test_a_line_of_somebody_unknown_is_no_finding_and_counts_for_nobody(copy: Copy) -> None:
    stranger = Witness("w1.example", bytes(32))
    for key in (CHECKPOINT_KEY, COSIGNED_KEY):
        note = copy.store.get_bytes(key).decode()
        text = note.rpartition("\n\n")[0] + "\n"
        copy.overwrite(key, (note + stranger.line(text, 1)).encode())

    report = copy.verify()

    assert report.ok
    assert notes(report, NoteKind.COSIGNED)


def test_what_was_sealed_a_moment_ago_waits_and_is_no_finding(copy: Copy) -> None:
    copy.seal(timedelta(minutes=1))

    report = copy.verify()

    assert report.ok
    (pending,) = notes(report, NoteKind.COSIGNATURES_PENDING)
    assert pending.message.startswith("from segment 3 of 4 on, sealed since ")


def test_what_no_quorum_saw_in_time_is_a_finding(copy: Copy) -> None:
    """Also with one of the two: both must agree."""
    copy.seal(timedelta(minutes=1))
    copy.seal(timedelta(hours=2))
    copy.witnesses[1].instead = lambda _body: refused()
    copy.look_outside()

    (finding,) = findings(copy.verify())

    assert finding.kind is Kind.COSIGNATURES_MISSING
    assert finding.segment == 3
    one_is_enough = read_policy(policy(*copy.witnesses, quorum="any"))
    assert copy.verify(replace(copy.expected, policy=one_is_enough)).ok


def refused() -> Reply:
    return Reply(503)


def test_a_ledger_that_nobody_ever_cosigned_is_a_finding_however_young_it_is(copy: Copy) -> None:
    """Of a copy; the times of its records are whoever's who wrote it."""
    others = policy(Witness("other.example", bytes(32), port=1), quorum="all")

    (finding,) = findings(
        copy.verify(replace(copy.expected, policy=read_policy(others), witness_lag=timedelta(days=99)))
    )

    assert finding.kind is Kind.COSIGNATURES_MISSING
    assert finding.segment == 0


def test_cosigned_checkpoints_of_days_count_where_the_newest_ones_are_gone(copy: Copy) -> None:
    copy.store.delete(COSIGNED_KEY)
    copy.overwrite(CHECKPOINT_KEY, copy.log.note.encode())

    report = copy.verify()

    (cosigned,) = notes(report, NoteKind.COSIGNED)
    assert cosigned.checkpoint == 2


def test_a_cosigned_checkpoint_of_another_ledger_is_a_fork(copy: Copy) -> None:
    """Whoever has the key rewrites the ledger and keeps the cosigned checkpoint."""
    kept = copy.store.get_bytes(COSIGNED_KEY)
    for info in list(copy.store.list("audit-ledger/")):
        copy.store.delete(info.key)
    log = EMPTY_LOG
    for seq, moment in enumerate(copy.moments):
        log = extend(copy.store, log, [record(seq, moment, variant=1)])
    copy.store.put_bytes(COSIGNED_KEY, kept)

    kinds = {finding.kind for finding in copy.verify().findings}

    assert Kind.CHECKPOINT_FORKED in kinds


def test_a_ledger_that_ends_before_its_cosigned_checkpoint_was_put_back(copy: Copy) -> None:
    older = copy.store.get_bytes(day_key(copy.days[1]))
    copy.overwrite(CHECKPOINT_KEY, older)

    kinds = {finding.kind for finding in copy.verify().findings}

    assert Kind.LEDGER_ROLLED_BACK in kinds


def test_an_altered_cosigned_checkpoint_is_a_finding(copy: Copy) -> None:
    copy.overwrite(COSIGNED_KEY, b"nothing")

    assert [(finding.kind, finding.key) for finding in copy.verify().findings] == [
        (Kind.CHECKPOINT_ALTERED, COSIGNED_KEY)
    ]


@pytest.mark.parametrize("data", [b"", b"\x30\x00", bytes(2**17)])
def test_what_is_no_time_stamp_is_a_finding(copy: Copy, data: bytes) -> None:
    copy.overwrite(stamp_key(copy.days[0]), data)

    (finding,) = findings(copy.verify())

    assert (finding.kind, finding.day, finding.key) == (
        Kind.TIME_STAMP_INVALID,
        copy.days[0],
        stamp_key(copy.days[0]),
    )


def test_a_time_stamp_of_another_day_is_a_finding(copy: Copy) -> None:
    copy.overwrite(stamp_key(copy.days[0]), copy.store.get_bytes(stamp_key(copy.days[1])))

    (finding,) = findings(copy.verify())

    assert (finding.kind, finding.day) == (Kind.TIME_STAMP_INVALID, copy.days[0])


def test_a_day_without_a_stamp_is_covered_by_the_next_days(copy: Copy) -> None:
    copy.store.delete(stamp_key(copy.days[0]))

    report = copy.verify()

    assert report.ok
    (stamped,) = notes(report, NoteKind.TIME_STAMPED)
    assert stamped.message.endswith("; days before without one of their own, which it covers: 1")


def test_a_missing_stamp_of_the_newest_day_waits_a_day_and_is_then_a_finding(copy: Copy) -> None:
    copy.store.delete(stamp_key(copy.days[1]))

    assert copy.verify().ok
    (pending,) = notes(copy.verify(), NoteKind.TIME_STAMP_PENDING)
    assert pending.day == copy.days[1]
    copy.seal(timedelta(hours=23, minutes=59))
    assert not [each for each in findings(copy.verify()) if each.kind is Kind.TIME_STAMP_MISSING]
    copy.seal(timedelta(minutes=2))

    (missing,) = (each for each in findings(copy.verify()) if each.kind is Kind.TIME_STAMP_MISSING)
    assert missing.day == copy.days[1]


def test_days_that_nobody_ever_stamped_are_a_finding(copy: Copy) -> None:
    for day in copy.days[:2]:
        copy.store.delete(stamp_key(day))

    (finding,) = findings(copy.verify())

    assert (finding.kind, finding.day) == (Kind.TIME_STAMP_MISSING, copy.days[0])


def test_stamps_by_another_authority_count_for_nothing(copy: Copy, tmp_path: Path) -> None:
    with time_stamp_authority(tmp_path / "tsa") as other:
        report = copy.verify(replace(copy.expected, authority=read_authority(other.certificates)))

    assert [finding.kind for finding in findings(report)] == [
        Kind.TIME_STAMP_INVALID,
        Kind.TIME_STAMP_INVALID,
        Kind.TIME_STAMP_MISSING,
    ]


def test_a_stamp_beside_a_day_that_is_gone_is_not_what_is_wrong(copy: Copy) -> None:
    copy.store.delete(day_key(copy.days[0]))

    report = copy.verify()

    assert [finding.kind for finding in report.findings] == [Kind.DAILY_CHECKPOINT_MISSING]


def test_a_policy_for_another_ledger_is_refused(copy: Copy) -> None:
    other = KEY.generate("another.example/log").verifier_key().to_note_string()
    text = f"log {other}\n" + policy(*copy.witnesses, quorum="all")

    with pytest.raises(ConfigurationError, match=r"for another\.example/log"):
        copy.verify(replace(copy.expected, policy=read_policy(text)))
