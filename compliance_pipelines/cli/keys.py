"""`compliance keys`: what encrypts archives.

Here: arguments and words. Not here: what is done (archive/part_keys.py, encryption/).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from compliance_pipelines.archive import part_keys
from compliance_pipelines.base.printable import printable
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.encryption.keyring import Keyring

if TYPE_CHECKING:
    from compliance_pipelines.encryption.comparison import KeysReport

_DATE: Final = click.DateTime(["%Y-%m-%d"])
_EACH: Final = 100


@click.command("init")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@needs()
def init(file: Path) -> None:
    """Make a keyring with one key in a new FILE that only its owner can read, for AUDIT_ARCHIVE_KEYRING_FILE.

    Whoever loses it loses every archive that was encrypted under it: keep copies on other media, not beside the
    archives. A key in AWS or GCP KMS, which nobody can lose or copy, takes its place (AUDIT_ARCHIVE_KMS_KEY).
    """
    made = Keyring.create(file, datetime.now(UTC))
    click.echo(f"{file} has the key {made.current.reference}: keep copies of the file apart from the archives")


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
@needs(Need.DATABASE, Need.COLD_STORE, Need.ARCHIVE_KEY)
def list_keys(*, as_json: bool) -> None:
    """List the key-encryption keys, and how many keys of archives each wraps."""
    with opened() as services, services.engine.connect() as connection:
        wrapped = part_keys.wrapped_keys(services, connection)
        keys = services.data_keys.key_encryption_keys
        current = keys.current().reference if keys.any else None
        known = set(keys.references()) if keys.any else set()
    rows = [
        {
            "key": reference,
            "current": reference == current,
            "available": reference in known,
            "keys": wrapped.get(reference, 0),
        }
        for reference in sorted(known | wrapped.keys())
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    if not rows:
        click.echo("no key-encryption key is named, and no archive is encrypted")
    for row in rows:
        notes = [
            *(["wraps the keys of new archives"] if row["current"] else []),
            *([] if row["available"] else ["NOT AVAILABLE: the settings do not name it, or the keyring lacks it"]),
        ]
        click.echo(printable(f"{row['key']}: {row['keys']:,} keys{''.join(f'; {note}' for note in notes)}"))


@click.command("rotate")
@click.option("--to", metavar="ID", help="A key that the keyring has already, in place of a new one.")
@needs(Need.DATABASE, Need.COLD_STORE, Need.ARCHIVE_KEY, changes=True)
def rotate(to: str | None) -> None:
    """Wrap the keys of all archives by another key-encryption key, without touching an archive; on record.

    With a keyring that is a new key of it. With AUDIT_ARCHIVE_KMS_KEY it is the key named there, and the one before has
    to stand in AUDIT_ARCHIVE_FORMER_KMS_KEYS until this is done. Interrupted, it is finished by calling it again.
    Processes that archive read the keyring anew each time; give it to other machines before.
    """
    with opened() as services:
        done = part_keys.rotate_keys(services, to=to, progress=_tell_progress)
    click.echo(
        f"{done.keys:,} keys are wrapped by {done.to}; {done.rewrapped:,} of them were not before. "
        + (
            "Copy the keyring to where its copies are. `compliance keys remove` takes the key before out of it"
            if done.to.startswith("keyring:")
            else "Schedule the deletion of the key before in its service, once it is in no use elsewhere"
        )
    )


def _tell_progress(done: int, of: int) -> None:
    if done % _EACH == 0 or done == of:
        click.echo(f"{done:,} of {of:,} keys", err=True)


@click.command("remove")
@click.argument("key", metavar="KEY")
@needs(Need.DATABASE, Need.COLD_STORE, Need.ARCHIVE_KEY, changes=True)
def remove(key: str) -> None:
    """Take KEY, which wraps no key any more, out of the keyring: what it wrapped in backups is worth nothing then.

    Copies of the keyring have it until they are replaced.
    """
    with opened() as services:
        part_keys.remove_from_keyring(services, key)
        path = services.settings.audit_archive_keyring_file
    click.echo(f"{key} is no longer in {path}: replace the copies of it")


@click.command("verify")
@click.option("--repair", is_flag=True, help="Write a record that is missing or damaged again from the other one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
@needs(Need.DATABASE, Need.COLD_STORE, Need.ARCHIVE_KEY, changes=True)
def verify(*, repair: bool, as_json: bool) -> None:
    """Compare both records of each archive's key, and unwrap it. Exit status 1 where something is wrong."""
    with opened() as services:
        report = part_keys.verify_keys(services, repair=repair)
    if as_json:
        click.echo(json.dumps(_as_json(report)))
    else:
        _tell(report)
    if report.problems:
        raise SystemExit(1)


def _as_json(report: KeysReport) -> dict[str, Any]:
    return {
        "intact": report.intact,
        "destroyed": report.destroyed,
        "unused": list(report.unused),
        "wrapped_by": dict(report.wrapped_by),
        "problems": [{"kind": str(each.kind), "message": each.message} for each in report.problems],
        "repaired": [{"kind": str(each.kind), "message": each.message} for each in report.repaired],
    }


def _tell(report: KeysReport) -> None:
    click.echo(f"{report.intact:,} keys are intact, {report.destroyed:,} were destroyed")
    for reference, count in report.wrapped_by.items():
        click.echo(printable(f"  {reference} wraps {count:,}"))
    if report.unused:
        click.echo(
            f"{len(report.unused):,} records are of objects that no archive is yet: an interrupted run left them"
        )
    for problem in report.repaired:
        click.echo(printable(f"repaired: {problem.message}"))
    for problem in report.problems:
        hint = " (`--repair` writes it again)" if problem.can_be_repaired else ""
        click.echo(printable(f"{problem.kind}: {problem.message}{hint}"), err=True)


@click.command("destroy")
@click.argument("day", type=_DATE)
@click.option("--part", type=click.IntRange(min=1), help="One of the day's parts. Default: all.")
@click.option("--reason", required=True, help="Why, such as the number of a decision; it is kept.")
@click.option("--before-retention-ends", is_flag=True, help="Although the day must be kept for longer.")
@click.option("--confirm", metavar="DAY", help="The day once more, in place of being asked.")
@needs(Need.DATABASE, Need.COLD_STORE, Need.SUBJECT_NAMES, changes=True)
def destroy(*, day: datetime, part: int | None, reason: str, before_retention_ends: bool, confirm: str | None) -> None:
    """Destroy the keys of the archives of DAY, after which nobody can read them, also where a lock keeps the objects.

    Refused while a hold is on the day, and before its retention ends. Cannot be undone. Copies of the wrapped keys in
    backups are worth nothing after `compliance keys rotate` and `remove`.
    """
    wanted = day.date()
    typed = confirm if confirm is not None else click.prompt(f"Type {wanted} to destroy its keys", default="", err=True)
    if typed != str(wanted):
        raise click.UsageError(f"not confirmed: nothing was destroyed; --confirm {wanted}")
    with opened() as services:
        destroyed = part_keys.destroy_keys_of_day(
            services, wanted, reason=reason, part=part, before_retention_ends=before_retention_ends
        )
    for each in destroyed:
        click.echo(f"the key {each.key_id} of {each.object_key} is destroyed")
    if not destroyed:
        click.echo(f"the keys of {wanted} were destroyed before")


COMMANDS: Final[list[click.Command]] = [init, list_keys, rotate, remove, verify, destroy]
