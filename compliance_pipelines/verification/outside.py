"""What somebody outside has seen of the ledger: cosignatures of witnesses, and time stamps of an authority.

Here: checking every one that lies in the cold store, and how much of the ledger they cover. Not here: whether the
checkpoints that they are of belong to one ledger (chain.py).

A quorum over one checkpoint covers every record before, because the tree contains them; so does a time stamp. What
comes after waits for the next one, and for how long that is in order is known. With the database it is counted to the
present moment; of a copy, which may be old, to the last record of its ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from compliance_pipelines.ledger.timestamping import (
    MOST_STAMP_BYTES,
    BadTimeStampError,
    load_authority,
    stamp_key,
)
from compliance_pipelines.ledger.witnesses import load_policy
from compliance_pipelines.object_store.bounded import read_bounded
from compliance_pipelines.object_store.port import ObjectMissingError, OversizedObjectError
from compliance_pipelines.verification.findings import Finding, Kind, Note, NoteKind, Undecided
from compliance_pipelines.verification.guard import reason_of
from compliance_pipelines.verification.segment_index import Source

if TYPE_CHECKING:
    from datetime import date, datetime

    from compliance_pipelines.ledger.checkpoint import Checkpoint, VerifierKey
    from compliance_pipelines.ledger.timestamping import Authority
    from compliance_pipelines.ledger.witnesses import Policy
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.settings import Settings
    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.segment_index import SegmentIndex

_MOMENT: Final = "%Y-%m-%d %H:%M:%S UTC"


@dataclass(frozen=True)
class Expected:
    """Whose word counts, and how long it may be waited for.

    Attributes:
        policy: the witnesses; None where none are known.
        authority: of time stamps; None where none is known.
        witness_lag: after sealing.
        stamp_lag: after a day's last checkpoint became that.
    """

    policy: Policy | None = None
    authority: Authority | None = None
    witness_lag: timedelta = timedelta(hours=1)
    stamp_lag: timedelta = timedelta(days=1)

    @classmethod
    def of_settings(cls, settings: Settings) -> Expected:
        """What the settings say.

        Raises:
            ConfigurationError: the policy or the certificates cannot be used.
        """
        return cls(
            load_policy(settings),
            load_authority(settings),
            timedelta(seconds=settings.ledger_witness_max_lag_seconds),
            timedelta(seconds=settings.ledger_tsa_max_lag_seconds),
        )

    def require_log(self, key: VerifierKey) -> None:
        """Let the ledger of a key pass, if the policy is for it or for any.

        Raises:
            ConfigurationError: it is for others.
        """
        if self.policy is not None:
            self.policy.require_log(key)


class _Covered(NamedTuple):
    """The size of a checkpoint that enough witnesses cosigned, and who did when."""

    size: int
    said: str


class OutsideView:
    """Takes the checkpoints of the cold store as they are read, then says what they lack.

    Args:
        expected: whose word counts.
        journal: is told what is wrong, and what is worth knowing.
        now: until which something may be missing; None for the moment of the ledger's last record.
    """

    def __init__(self, expected: Expected, journal: Journal, now: datetime | None = None) -> None:
        self._expected = expected
        self._journal = journal
        self._now = now
        self._cosigned = _Covered(0, "")
        self._stamped: tuple[date, datetime] | None = None
        self._kept: dict[date, int] = {}
        self._with_stamp: set[date] = set()

    def note_read(self, key: str, note: str, checkpoint: Checkpoint) -> None:
        """A checkpoint of the cold store that the ledger's key signed."""
        policy = self._expected.policy
        if policy is None:
            return
        times, bad, agreed = policy.seen(note)
        for name, how in bad.items():
            message = f"{key}: the line of the witness {name} is not its cosignature: {how}"
            self._journal.find(
                Finding(kind=Kind.COSIGNATURE_INVALID, key=key, checkpoint=checkpoint.size, message=message)
            )
        if agreed and checkpoint.size > self._cosigned.size:
            said = ", ".join(f"{name} at {time:{_MOMENT}}" for name, time in times.items())
            self._cosigned = _Covered(checkpoint.size, said)

    def day_read(self, day: date, checkpoint: Checkpoint) -> None:
        """The last checkpoint of a day, which the ledger's key signed."""
        self._kept[day] = checkpoint.size

    def stamp_found(self, store: ObjectStore, day: date, note: str | None) -> None:
        """There is a time stamp beside a day's last checkpoint.

        Args:
            store: the cold store.
            day: the UTC day.
            note: the checkpoint; None where it is missing or damaged, which has a finding of its own.
        """
        self._with_stamp.add(day)
        authority, key = self._expected.authority, stamp_key(day)
        if authority is None or note is None:
            return
        try:
            time = authority.time_of(note.encode(), read_bounded(store, key, MOST_STAMP_BYTES))
        except (BadTimeStampError, OversizedObjectError) as error:
            message = f"{key} is not the time stamp of {day}: {error}"
            self._journal.find(Finding(kind=Kind.TIME_STAMP_INVALID, day=day, key=key, message=message))
        except ObjectMissingError:
            self._with_stamp.discard(day)
        except Exception as error:  # noqa: BLE001 - whatever an object makes of a library, the others are looked at
            self._journal.cannot_tell(Undecided(f"{key} could not be read: {reason_of(error)}", day))
        else:
            if self._stamped is None or day > self._stamped[0]:
                self._stamped = day, time

    def finish(self, index: SegmentIndex, size: int) -> None:
        """Say how much of the ledger is covered, and what waits for too long.

        Args:
            index: holds the records under Source.LEDGER; of those that it does not hold nothing is said.
            size: segments of the ledger.
        """
        last = next(index.between(Source.LEDGER, size - 1, size), None)
        now = self._now or (None if last is None else last.sealed_at)
        if self._expected.policy is not None and size:
            self._finish_cosignatures(self._expected.policy, index, size, now)
        if self._expected.authority is not None:
            self._finish_stamps(index, size, now)
        elif self._with_stamp:
            message = (
                f"{len(self._with_stamp):,} time stamps lie beside days' checkpoints and were not checked: that needs "
                "the authority's certificates"
            )
            self._journal.note(Note(kind=NoteKind.TIME_STAMPS_UNCHECKED, message=message))

    def _finish_cosignatures(self, policy: Policy, index: SegmentIndex, size: int, now: datetime | None) -> None:
        covered = self._cosigned.size
        if covered:
            message = f"up to segment {covered - 1} the ledger is cosigned: {self._cosigned.said or policy.needed}"
            self._journal.note(Note(kind=NoteKind.COSIGNED, checkpoint=covered, message=message))
        first = next(index.between(Source.LEDGER, covered, size), None)
        if first is None or now is None:
            return
        message = (
            f"from segment {first.seq} of {size} on, sealed since {first.sealed_at:{_MOMENT}}, the ledger is cosigned "
            f"by no quorum of witnesses ({policy.needed})"
        )
        late = now - first.sealed_at > self._expected.witness_lag
        # Of a copy that nobody ever cosigned the moment of its last record says nothing.
        if late or (self._now is None and not covered):
            self._journal.find(Finding(kind=Kind.COSIGNATURES_MISSING, segment=first.seq, message=message))
        else:
            self._journal.note(Note(kind=NoteKind.COSIGNATURES_PENDING, segment=first.seq, message=message))

    def _finish_stamps(self, index: SegmentIndex, size: int, now: datetime | None) -> None:
        days = sorted(self._kept)
        if self._stamped is not None:
            day, time = self._stamped
            before = [each for each in days if each < day and each not in self._with_stamp]
            own = f"; days before without one of their own, which it covers: {len(before):,}" if before else ""
            message = f"up to {day} the ledger is stamped, at {time:{_MOMENT}}{own}"
            self._journal.note(Note(kind=NoteKind.TIME_STAMPED, day=day, message=message))
        waiting = next((day for day in days if self._stamped is None or day > self._stamped[0]), None)
        if waiting is None or now is None:
            return
        successor = next(index.between(Source.LEDGER, self._kept[waiting], size), None)
        message = f"the last checkpoint of {waiting} has no valid time stamp, and neither has that of any day after"
        late = successor is not None and now - successor.sealed_at > self._expected.stamp_lag
        if late or (self._now is None and self._stamped is None):
            self._journal.find(Finding(kind=Kind.TIME_STAMP_MISSING, day=waiting, message=message))
        else:
            self._journal.note(Note(kind=NoteKind.TIME_STAMP_PENDING, day=waiting, message=message))
