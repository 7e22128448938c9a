"""With the database: proofs, verification, status and the commands go by what witnesses and an authority have seen."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.archive.lookup import ArchiveEntryFinder
from compliance_pipelines.base.clock import days_before, utc_day
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, COSIGNED_KEY, day_key
from compliance_pipelines.ledger.outside import look_at_stamps, look_at_witnesses, stamp_state, witness_state
from compliance_pipelines.ledger.proofs import prove
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.ledger.timestamping import stamp_days, stamp_key
from compliance_pipelines.ledger.witnessing import ask_witnesses
from compliance_pipelines.verification.findings import Kind, NoteKind
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import overwrite
from tests.support.command import Command, environment
from tests.support.replies import Reply
from tests.support.time_stamp_authority import TimeStampAuthority, time_stamp_authority
from tests.support.witness import Witness, cosigned_by, policy, witness
from tests.unit.ledger import stranger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from compliance_pipelines.services import Services
    from compliance_pipelines.verification.findings import Report
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days


@dataclass
class Seen:
    """Services whose ledger two witnesses see, and a time-stamp authority."""

    services: Services
    witnesses: tuple[Witness, Witness]
    authority: TimeStampAuthority
    policy: str

    def look(self) -> None:
        ask_witnesses(self.services)
        stamp_days(self.services)


@pytest.fixture
def seen(services: Services, tmp_path: Path) -> Iterator[Seen]:
    vkey = services.verifier_key.to_note_string()
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(witness(f"w{number}.example", vkey, now=lambda: services.clock().timestamp()))
            for number in (1, 2)
        )
        authority = stack.enter_context(time_stamp_authority(tmp_path / "tsa"))
        text = policy(one, two, quorum="all")
        settings = services.settings.model_copy(
            update={
                "ledger_witnesses": text,
                "ledger_tsa_url": authority.url,
                "ledger_tsa_certificates": authority.certificates,
            }
        )
        yield Seen(replace(services, settings=settings), (one, two), authority, text)


@pytest.fixture
def command(seen: Seen, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """The command with the settings of the services."""
    (tmp_path / "here").mkdir()
    command = Command(monkeypatch, capsys, tmp_path / "here")
    command.set(**environment(seen.services.settings))
    return command


def kinds(report: Report) -> list[Kind]:
    return [finding.kind for finding in report.findings]


def proof_of(seen: Seen, log_entry_id: str) -> dict[str, Any]:
    document = prove(seen.services, log_entry_id, finder=ArchiveEntryFinder(seen.services))
    stranger.verify_proof(document, stranger.read_public_key(seen.services.verifier_key.to_note_string()))
    return document


def test_a_proof_leads_to_the_newest_checkpoint_that_the_witnesses_agreed_on(seen: Seen, days: Days, day: date) -> None:
    (first,) = days.append(day, 1)
    seen.look()
    (second,) = days.append(day, 1)

    cosigned, not_yet = proof_of(seen, first.log_entry_id), proof_of(seen, second.log_entry_id)

    assert all(cosigned_by(cosigned["checkpoint"], each) for each in seen.witnesses)
    assert cosigned["checkpoint"].split("\n")[1] == "1", "not the newest one, which nobody has seen"
    assert not any(cosigned_by(not_yet["checkpoint"], each) for each in seen.witnesses)
    seen.look()
    assert all(cosigned_by(proof_of(seen, second.log_entry_id)["checkpoint"], each) for each in seen.witnesses)


def test_without_a_quorum_a_proof_is_that_of_the_newest_checkpoint(seen: Seen, days: Days, day: date) -> None:
    seen.witnesses[0].instead = lambda _body: Reply(503)
    (entry,) = days.append(day, 1)
    seen.look()

    assert proof_of(seen, entry.log_entry_id)["checkpoint"].split("\n")[1] == "1"


def test_both_formats_of_a_proof_carry_the_cosignatures_and_whoever_checks_may_ask_for_them(
    seen: Seen, command: Command, days: Days, day: date, tmp_path: Path
) -> None:
    (entry,) = days.append(day, 1)
    key = seen.services.verifier_key.to_note_string()
    policy_file, proof, tlog = tmp_path / "policy", tmp_path / "proof.json", tmp_path / "entry.tlog-proof"
    policy_file.write_text(seen.policy, encoding="utf-8")
    early = command("prove", entry.log_entry_id, "-o", proof)
    assert early.status == 0
    assert "no quorum of the witnesses (2 of w1, w2) has seen this entry yet" in early.err
    refused = command("verify-proof", proof, "--public-key", key, "--witnesses", policy_file)
    assert (refused.status, refused.out) == (1, "")
    assert "cosigned by none of the witnesses, and needed is 2 of w1, w2" in refused.err
    seen.look()

    made = command("prove", entry.log_entry_id, "-o", proof)
    command("prove", entry.log_entry_id, "-o", tlog, "--format", "tlog-proof")
    checked = command("verify-proof", proof, "--public-key", key, "--witnesses", policy_file)

    assert made.out.splitlines()[1] == "cosigned by w1, w2"
    assert checked.status == 0
    assert checked.out.splitlines()[1].startswith("cosigned: w1 at ")
    note = tlog.read_text(encoding="utf-8").partition("\n\n")[2]
    assert all(cosigned_by(note, each) for each in seen.witnesses)
    stranger.verify_tlog_proof(tlog.read_text(encoding="utf-8"), stranger.read_public_key(key))
    document = json.loads(proof.read_bytes())
    document["checkpoint"] = document["checkpoint"].replace(" w1.example ", " w3.example ")
    proof.write_text(json.dumps(document), encoding="utf-8")
    assert command("verify-proof", proof, "--public-key", key).status == 0, "who does not ask gets the ledger's word"
    assert command("verify-proof", proof, "--public-key", key, "--witnesses", policy_file).status == 1


def test_verification_says_who_saw_the_ledger_and_finds_what_nobody_saw_in_time(
    seen: Seen, days: Days, clock: MovableClock, day: date
) -> None:
    days.append(day, 2)
    seen.look()
    report = verify(seen.services)
    assert report.ok
    assert NoteKind.COSIGNED in {note.kind for note in report.notes}
    days.append(day, 2)
    for asked in (None, [day]):
        young = verify(seen.services, asked)
        assert young.ok, asked
        assert NoteKind.COSIGNATURES_PENDING in {note.kind for note in young.notes}
    clock.advance(seconds=seen.services.settings.ledger_witness_max_lag_seconds + 60)
    for asked in (None, [day]):
        assert kinds(verify(seen.services, asked)) == [Kind.COSIGNATURES_MISSING], asked
    seen.look()
    for asked in (None, [day]):
        assert verify(seen.services, asked).ok, asked


def test_a_bad_line_is_found_also_where_single_days_are_verified(
    seen: Seen, days: Days, day: date, tmp_path: Path
) -> None:
    days.append(day, 2)
    seen.look()
    bad = seen.witnesses[0].line("something else\n", 1)
    path = tmp_path / "cold" / CHECKPOINT_KEY
    overwrite(path, path.read_bytes() + bad.encode())

    for asked in (None, [day]):
        assert Kind.COSIGNATURE_INVALID in kinds(verify(seen.services, asked)), asked


def test_a_cosigned_checkpoint_that_is_none_is_found(seen: Seen, days: Days, day: date, tmp_path: Path) -> None:
    days.append(day, 2)
    seen.look()
    overwrite(tmp_path / "cold" / COSIGNED_KEY, b"nothing")

    for asked in (None, [day]):
        assert Kind.CHECKPOINT_ALTERED in kinds(verify(seen.services, asked)), asked


def test_sealing_goes_on_while_everybody_outside_is_away(seen: Seen, days: Days, day: date) -> None:
    days.append(day, 2)
    for each in seen.witnesses:
        each.instead = lambda _body: Reply(500)
    look_at_witnesses(seen.services)
    days.append(day, 2)

    assert seal(seen.services).published == ()
    state = witness_state(seen.services)
    assert state is not None
    assert (state.covered, state.size, state.late) == (0, 2, False)


def test_what_is_missing_is_late_after_a_time_and_told_with_the_reasons(
    seen: Seen, days: Days, clock: MovableClock, day: date
) -> None:
    days.append(day, 2)
    seen.witnesses[1].instead = lambda _body: Reply(503, b"maintenance")
    assert not look_at_witnesses(seen.services).problem
    clock.advance(seconds=seen.services.settings.ledger_witness_max_lag_seconds + 60)

    late = look_at_witnesses(seen.services)

    assert "is not cosigned by 2 of w1, w2, for longer than" in late.problem
    assert "HTTP status 503 ('maintenance')" in late.problem
    seen.witnesses[1].instead = None
    assert look_at_witnesses(seen.services).problem == ""


def test_a_witness_that_has_seen_another_ledger_is_a_problem_at_once(seen: Seen, days: Days, day: date) -> None:
    days.append(day, 2)
    log = seen.witnesses[0].logs[seen.services.verifier_key.name]
    log.size, log.root = 1, bytes(32)

    assert "has cosigned another checkpoint of 1 records" in look_at_witnesses(seen.services).problem


def test_a_day_that_is_over_waits_for_its_stamp_and_is_late_after_a_day(
    seen: Seen, services: Services, days: Days, clock: MovableClock, day: date
) -> None:
    """The database's clock, which nobody moves, says when days end: the day's checkpoint is put there by hand."""
    days.append(day, 2)
    kept = services.store.get_bytes(CHECKPOINT_KEY)
    state = stamp_state(seen.services)
    assert state is not None
    assert (state.waiting, state.late) == (None, False)
    days.append(day, 2)
    yesterday = days_before(utc_day(clock()), 1)
    services.store.put_bytes(day_key(yesterday), kept)
    seen.authority.instead = lambda _request: Reply(503)

    waiting = look_at_stamps(seen.services)
    assert (waiting.problem, len(waiting.told)) == ("", 1)
    clock.advance(seconds=seen.services.settings.ledger_tsa_max_lag_seconds + 60)
    late = look_at_stamps(seen.services)
    seen.authority.instead = None
    there = look_at_stamps(seen.services)

    assert f"the last checkpoint of {yesterday} and of every day after has no time stamp" in late.problem
    assert "HTTP status 503" in late.problem
    assert there.problem == ""
    assert str(there.state).startswith(f"up to {yesterday}, at ")
    path = Path(services.store.locate(stamp_key(yesterday)).removeprefix("file://"))
    overwrite(path, b"nothing")
    assert "it is no time stamp over the day's checkpoint by this authority" in look_at_stamps(seen.services).problem


def test_the_commands_ask_show_and_fail(
    seen: Seen, command: Command, days: Days, clock: MovableClock, day: date
) -> None:
    days.append(day, 2)
    for each in seen.witnesses:
        each.now = lambda: clock().timestamp()
    before = command("status", "--json")
    outside = json.loads(before.out)["outside"]
    assert sorted(outside) == ["time_stamps", "witnesses"]
    assert outside["witnesses"]["covered"] == 0

    asked = command("ledger", "witness")

    assert asked.status == 0, asked.err
    assert asked.out.splitlines()[0].startswith("witnesses: 1 of 1 records cosigned by 2 of w1, w2; last seen by w1 ")
    assert asked.out.splitlines()[1].startswith("time stamps: none")
    shown = command("status")
    assert "1 of 1 records cosigned" in " ".join(shown.out.split())
    days.append(day, 2)
    seen.witnesses[0].instead = lambda _body: Reply(404)
    command.set(LEDGER_WITNESS_MAX_LAG_SECONDS="1")
    late = json.loads(command("status", "--json").out)["outside"]["witnesses"]
    assert (late["covered"], late["size"]) == (1, 2)
    told = command("ledger", "witness")
    assert "does not know tests.example/audit: have its operator add it" in told.err
    command.set(LEDGER_WITNESSES="nothing")
    assert "cannot be told: LEDGER_WITNESSES cannot be used" in " ".join(command("status").out.split())
    assert command("ledger", "witness").status == 1


def test_nobody_outside_is_said_to_be_nobody(services: Services, days: Days, day: date) -> None:
    days.append(day, 1)

    assert witness_state(services) is None
    assert stamp_state(services) is None
    assert look_at_witnesses(services).state is None
    assert not verify(services, [day]).findings
    assert timedelta(seconds=services.settings.ledger_witness_max_lag_seconds) == timedelta(hours=1)
