"""`compliance verify`: the auditor's command.

Here: arguments, the bar, words. Not here: anything that is looked at.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.audit_log.readings import Reading, record_reading
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.printable import printable
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened, require_declared
from compliance_pipelines.encryption.key_encryption import KeyEncryptionKeys
from compliance_pipelines.ledger.log_reading import MOST_NOTE_BYTES
from compliance_pipelines.ledger.public_key import load_verifier_key, read_verifier_key
from compliance_pipelines.ledger.timestamping import read_authority
from compliance_pipelines.ledger.witnesses import read_policy
from compliance_pipelines.postgres.errors import passing_errors_as_transient, reason_of
from compliance_pipelines.settings import load_settings
from compliance_pipelines.verification.errors import VerificationError
from compliance_pipelines.verification.offline import identity_of_copy, verify_copy
from compliance_pipelines.verification.online import verify as verify_everything
from compliance_pipelines.verification.outside import Expected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime

    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from compliance_pipelines.verification.findings import Finding, Report
    from compliance_pipelines.verification.progress import Stage

_NEEDS: Final = (Need.DATABASE, Need.COLD_STORE, Need.PUBLIC_KEY)
_DAY: Final = click.DateTime(["%Y-%m-%d"])


class _Bars:
    """A bar for each stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[Stage, TaskID] = {}

    def __call__(self, stage: Stage, done: int, total: int | None) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, count="")
        self._progress.update(self._tasks[stage], completed=done, total=total, count=f"{done:,}")


@contextmanager
def _bars() -> Iterator[_Bars]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"), TimeElapsedColumn())
    # Findings go to stdout, which rich would otherwise take over while the bar is there.
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        yield _Bars(progress)


@dataclass
class _Found:
    """The findings so far: they are printed also where the verification then fails."""

    findings: list[Finding] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        self.findings.append(finding)
        self.documents.append(finding.to_json())

    def print(self) -> None:
        for finding in self.findings:
            day = "" if finding.day is None else f" {finding.day}"
            click.echo(f"{finding.kind}{day}: {finding.message}")


def _summary(report: Report) -> str:
    checked = report.checked
    looked_at = (
        f"{_count(checked.days, 'day')}, {checked.hot_entries:,} entries in PostgreSQL, "
        f"{checked.archived_entries:,} in {_count(checked.parts, 'archive part')}, "
        f"{_count(checked.segments, 'record')}, {_count(checked.checkpoints, 'checkpoint')}"
    )
    if report.ok:
        return f"nothing is wrong: {looked_at}"
    undecided = f", {_count(len(report.undecided), 'thing')} could not be looked at" if report.undecided else ""
    return f"{_count(report.finding_count, 'finding')}{undecided}: {looked_at}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _print(report: Report, found: _Found) -> None:
    found.print()
    for kind, count in report.omitted.items():
        click.echo(f"{kind}: {count:,} more are not shown")
    for undecided in report.undecided:
        day = "" if undecided.day is None else f" {undecided.day}"
        click.echo(f"cannot tell{day}: {undecided.message}")
    for note in report.notes:
        day = "" if note.day is None else f" {note.day}"
        click.echo(f"note{day}: {note.message}")
    click.echo(_summary(report))


def _settings_with(public_key: str | None) -> Settings:
    """The settings with a public key and nothing else to check signatures with: the option's, else their own."""
    settings = load_settings()
    key = load_verifier_key(settings) if public_key is None else read_verifier_key(public_key)
    unset = {"ledger_signing_key": None, "ledger_signing_key_file": None}
    return settings.model_copy(update={**unset, "ledger_public_key": key.to_note_string()})


def _expected(witnesses: str | None, certificates: Path | None, otherwise: Expected) -> Expected:
    """Whose cosignatures and time stamps count: the options' where they are given."""
    return replace(
        otherwise,
        policy=otherwise.policy if witnesses is None else read_policy(witnesses),
        authority=otherwise.authority if certificates is None else read_authority(certificates),
    )


def _online(
    days: Sequence[date], public_key: str | None, witnesses: str | None, certificates: Path | None, found: _Found
) -> Report:
    require_declared()
    settings = _settings_with(public_key)
    expected = _expected(witnesses, certificates, Expected.of_settings(settings))
    with opened(settings=settings, judges_rows=True) as services:
        with passing_errors_as_transient("the verification", services.engine):
            _put_on_record(services, days)
        with _bars() as bars:
            return verify_everything(services, days or None, expected=expected, progress=bars, on_finding=found.add)


def _put_on_record(services: Services, days: Sequence[date]) -> None:
    """Put on record that an auditor begins to verify, and which days."""
    if not days:
        record_reading(services.engine, Reading.VERIFY)
    elif len(days) == 1:
        record_reading(services.engine, Reading.VERIFY, days[0].isoformat())
    else:
        record_reading(
            services.engine,
            Reading.VERIFY,
            days=len(set(days)),
            first_day=min(days).isoformat(),
            last_day=max(days).isoformat(),
        )


def _offline(  # noqa: PLR0913, PLR0917 - what a person may say about it
    directory: Path,
    public_key: str,
    archived_through: date | None,
    checkpoints: Sequence[Path],
    expected: Expected,
    archive_keys: KeyEncryptionKeys,
    found: _Found,
) -> Report:
    key = read_verifier_key(public_key)
    identity = identity_of_copy(directory, key)
    if identity is not None:
        click.echo(f"{directory} is {identity}, made at {identity.created_at:%Y-%m-%d %H:%M:%S} UTC", err=True)
    remembered = [_bytes_of(path) for path in checkpoints]
    with _bars() as bars:
        return verify_copy(
            directory,
            key,
            archived_through=archived_through,
            remembered=remembered,
            expected=expected,
            archive_keys=archive_keys,
            progress=bars,
            on_finding=found.add,
        )


def _bytes_of(path: Path) -> bytes:
    """The beginning of a file, which is all of a checkpoint and more."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_NOTE_BYTES + 1)
    except OSError as error:
        raise VerificationError(f"the checkpoint {path} cannot be read: {error}") from error


def _why_stopped(error: BaseException) -> str:
    if isinstance(error, ComplianceError):
        return printable(str(error))
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted before it came to its end"
    if isinstance(error, DBAPIError):
        return f"the verification had to stop: {printable(reason_of(error))}; run it again"
    return f"the verification had to stop, by a fault of this program: {type(error).__name__}: {printable(str(error))}"


def _refuse_odd_usage(  # noqa: PLR0913 - what can go together or not
    days: Sequence[datetime],
    offline: Path | None,
    public_key: str | None,
    archived_through: datetime | None,
    checkpoints: Sequence[Path],
    *,
    archive_keys: KeyEncryptionKeys,
    everything: bool,
) -> None:
    """Refuse options that do not go together.

    Raises:
        click.UsageError: they do not.
    """
    if days and everything:
        raise click.UsageError("give either DAYs or --all")
    if offline is None and archived_through is not None:
        raise click.UsageError("--archived-through belongs to --offline")
    if offline is None and checkpoints:
        raise click.UsageError("--checkpoint belongs to --offline")
    if offline is None and archive_keys.any:
        raise click.UsageError(
            "--keyring and --kms-key belong to --offline: set AUDIT_ARCHIVE_KEYRING_FILE or AUDIT_ARCHIVE_KMS_KEY"
        )
    if offline is not None and public_key is None:
        raise click.UsageError("--offline needs --public-key: what is signed by whom cannot be told without it")
    if offline is not None and (days or everything):
        raise click.UsageError("--offline verifies the whole copy: give neither DAYs nor --all with it")


@click.command("verify")
@click.argument("days", metavar="[DAY]...", nargs=-1, type=_DAY)
@click.option("--all", "everything", is_flag=True, help="Every day and every checkpoint; also without any DAY.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--offline",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Verify a copy of the bucket, without database, network or settings.",
)
@click.option(
    "--public-key",
    metavar="KEY",
    help="The ledger's public key, or a file that holds it. Default, but not with --offline: the settings' key.",
)
@click.option(
    "--archived-through",
    type=_DAY,
    metavar="DAY",
    help="With --offline: everything up to this day must be archived; what is not is a finding.",
)
@click.option(
    "--checkpoint",
    "checkpoints",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="With --offline: a checkpoint that was put aside; the ledger must extend it. May be given again.",
)
@click.option(
    "--witnesses",
    metavar="POLICY",
    help="Whose cosignatures count, and how many: a file with a C2SP tlog-policy. Default, but not with --offline: "
    "LEDGER_WITNESSES.",
)
@click.option(
    "--tsa-certificates",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The time-stamp authority's certificates (PEM). Default, but not with --offline: LEDGER_TSA_CERTIFICATES.",
)
@click.option(
    "--keyring",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --offline: the keyring that unwraps the keys of encrypted archives. Without keys these are compared by "
    "their hash alone, and the report says so.",
)
@click.option(
    "--kms-key",
    "kms_keys",
    metavar="KEY",
    multiple=True,
    help="With --offline: a key in AWS or GCP KMS that unwraps them (awskms:///..., gcpkms://...). May be given again.",
)
@needs(*_NEEDS, given_by={"offline": _NEEDS, "public_key": (Need.PUBLIC_KEY,)}, on_record=True, at_once=False)
def verify(  # noqa: PLR0913 - one parameter an option
    days: Sequence[datetime],
    offline: Path | None,
    public_key: str | None,
    archived_through: datetime | None,
    checkpoints: Sequence[Path],
    *,
    witnesses: str | None,
    tsa_certificates: Path | None,
    keyring: Path | None,
    kms_keys: tuple[str, ...],
    everything: bool,
    as_json: bool,
) -> None:
    """Verify that nothing was altered, added or removed: hot entries, archives, ledger, checkpoints.

    Each DAY (YYYY-MM-DD, UTC), or everything. Prints one line a finding and a summary; exit status 1 where there is a
    finding or something could not be looked at. It only reads; that an auditor's
    login did is on record.
    """
    found = _Found()
    click.get_current_context().ensure_object(dict)["findings"] = found.documents
    archive_keys = KeyEncryptionKeys(keyring, None, kms_keys)
    _refuse_odd_usage(
        days, offline, public_key, archived_through, checkpoints, archive_keys=archive_keys, everything=everything
    )
    try:
        if offline is not None and public_key is not None:
            through = None if archived_through is None else archived_through.date()
            expected = _expected(witnesses, tsa_certificates, Expected())
            report = _offline(offline, public_key, through, checkpoints, expected, archive_keys, found)
        else:
            report = _online([day.date() for day in days], public_key, witnesses, tsa_certificates, found)
    except (Exception, KeyboardInterrupt) as error:
        if not as_json:
            found.print()
        if isinstance(error, (ComplianceError, KeyboardInterrupt)):
            raise
        raise VerificationError(_why_stopped(error)) from error
    if as_json:
        click.echo(json.dumps(report.to_json()))
    else:
        _print(report, found)
    if not report.ok:
        raise SystemExit(1)


COMMANDS: Final[list[click.Command]] = [verify]
