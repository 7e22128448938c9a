"""Whether somebody outside has seen the ledger lately: witnesses, and a time-stamp authority.

Here: what is not cosigned or not stamped yet, since when, and whether that is too long. Not here: how somebody is asked
(witnessing.py, timestamping.py), verifying all that was ever given (verification/outside.py).

A checkpoint contains all before it, so that one quorum covers everything up to it, and one time stamp all days before.
So what counts is the newest one, and the age of the first checkpoint after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.ledger import sql
from compliance_pipelines.ledger.log_reading import (
    CHECKPOINT_KEY,
    COSIGNED_KEY,
    MOST_NOTE_BYTES,
    day_key,
    opened,
    read_chain,
)
from compliance_pipelines.ledger.timestamping import (
    MOST_STAMP_BYTES,
    BadTimeStampError,
    load_authority,
    recent_days,
    stamp_days,
    stamp_key,
)
from compliance_pipelines.ledger.witnesses import load_policy
from compliance_pipelines.ledger.witnessing import ask_witnesses, read_signed_head
from compliance_pipelines.object_store.bounded import read_bounded
from compliance_pipelines.object_store.port import OversizedObjectError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime

    from compliance_pipelines.ledger.timestamping import Authority
    from compliance_pipelines.services import Services

_MOMENT: Final = "%Y-%m-%d %H:%M:%S UTC"


@dataclass(frozen=True)
class WitnessState:
    """How far witnesses have seen the ledger.

    Attributes:
        needed: who must agree, in words.
        size: records of the newest checkpoint in the cold store; 0 where there is none.
        covered: records of the newest one that as many cosigned as must agree; 0 where there is none.
        times: when each witness cosigned last, of those two checkpoints, by its name; None where it did not.
        waiting_since: when the first checkpoint after that one was signed; None where there is none.
        late: whether that is longer ago than LEDGER_WITNESS_MAX_LAG_SECONDS.
    """

    needed: str
    size: int
    covered: int
    times: Mapping[str, datetime | None]
    waiting_since: datetime | None
    late: bool

    def __str__(self) -> str:
        seen = ", ".join(
            f"{name} {'not lately' if time is None else f'{time:{_MOMENT}}'}" for name, time in self.times.items()
        )
        waiting = "" if self.waiting_since is None else f", waiting since {self.waiting_since:{_MOMENT}}"
        return f"{self.covered:,} of {self.size:,} records cosigned by {self.needed}{waiting}; last seen by {seen}"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "needed": self.needed,
            "size": self.size,
            "covered": self.covered,
            "times": {name: _iso(time) for name, time in self.times.items()},
            "waiting_since": _iso(self.waiting_since),
            "late": self.late,
        }


@dataclass(frozen=True)
class StampState:
    """How far the ledger's days are stamped, of the last 31.

    Attributes:
        stamped: the newest day whose checkpoint has a valid time stamp; None where none has.
        time: which that is.
        waiting: the first day after it whose checkpoint has none; None where there is none.
        waiting_since: when that checkpoint was superseded, and so became the day's last one.
        late: whether that is longer ago than LEDGER_TSA_MAX_LAG_SECONDS.
        problem: what is wrong with the newest time stamp; empty where nothing is.
    """

    stamped: date | None
    time: datetime | None
    waiting: date | None
    waiting_since: datetime | None
    late: bool
    problem: str = ""

    def __str__(self) -> str:
        done = "none" if self.stamped is None else f"up to {self.stamped}"
        done += "" if self.time is None else f", at {self.time:{_MOMENT}}"
        waiting = "" if self.waiting is None else f"; waiting for that of {self.waiting}"
        return done + waiting + (f"; {self.problem}" if self.problem else "")

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "stamped": None if self.stamped is None else self.stamped.isoformat(),
            "time": _iso(self.time),
            "waiting": None if self.waiting is None else self.waiting.isoformat(),
            "waiting_since": _iso(self.waiting_since),
            "late": self.late,
            "problem": self.problem,
        }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def witness_state(services: Services) -> WitnessState | None:
    """How far witnesses have seen the ledger; None where LEDGER_WITNESSES is not set.

    Raises:
        ConfigurationError: it cannot be used.
        LedgerError: a checkpoint of the cold store is none, or not signed by the key.
        ObjectStoreError: the store failed.
        sqlalchemy.exc.DBAPIError: the database failed.
    """
    policy = load_policy(services.settings)
    if policy is None:
        return None
    # In this order: the newest only grows.
    cosigned = read_signed_head(services.store, COSIGNED_KEY, services.verifier_key, policy)
    newest = read_signed_head(services.store, CHECKPOINT_KEY, services.verifier_key, policy)
    heads = [head for head in (newest, cosigned) if head is not None]
    covered = max((head.checkpoint.size for head in heads if head.agreed), default=0)
    since = None if newest is None or covered >= newest.checkpoint.size else _signed_after(services, covered)
    times = {
        witness.name: max((head.times[witness.name] for head in heads if witness.name in head.times), default=None)
        for witness in policy.witnesses
    }
    most = timedelta(seconds=services.settings.ledger_witness_max_lag_seconds)
    return WitnessState(
        needed=policy.needed,
        size=0 if newest is None else newest.checkpoint.size,
        covered=covered,
        times=times,
        waiting_since=since,
        late=since is not None and services.clock() - since > most,
    )


def stamp_state(services: Services) -> StampState | None:
    """How far the ledger's days are stamped; None where neither LEDGER_TSA_URL nor its certificates are set.

    Raises:
        ConfigurationError: LEDGER_TSA_CERTIFICATES cannot be used.
        LedgerError: a day's checkpoint is none, or not signed by the ledger's key.
        ObjectStoreError: the store failed.
        sqlalchemy.exc.DBAPIError: the database failed.
    """
    authority = load_authority(services.settings)
    if authority is None and services.settings.ledger_tsa_url is None:
        return None
    days = recent_days(services.store, utc_day(services.clock()))
    stamped, time, problem = None, None, ""
    for day in sorted((day for day, has in days.items() if has), reverse=True):
        if authority is None:
            break
        try:
            time = _time_of(services, authority, day)
        except BadTimeStampError as error:
            problem = problem or f"{services.store.locate(stamp_key(day))}: {error}"
        else:
            stamped = day
            break
    waiting = next((day for day in days if stamped is None or day > stamped), None)
    since = None if waiting is None else _superseded(services, waiting)
    most = timedelta(seconds=services.settings.ledger_tsa_max_lag_seconds)
    late = since is not None and services.clock() - since > most
    return StampState(stamped, time, waiting, since, late, problem)


def _time_of(services: Services, authority: Authority, day: date) -> datetime:
    try:
        note = read_bounded(services.store, day_key(day), MOST_NOTE_BYTES)
        return authority.time_of(note, read_bounded(services.store, stamp_key(day), MOST_STAMP_BYTES))
    except OversizedObjectError as error:
        raise BadTimeStampError(str(error)) from error


def _superseded(services: Services, day: date) -> datetime | None:
    where = services.store.locate(day_key(day))
    try:
        note = read_bounded(services.store, day_key(day), MOST_NOTE_BYTES)
    except OversizedObjectError:
        note = b""
    return _signed_after(services, opened(note, read_chain(services.store, services.verifier_key), where).size)


def _signed_after(services: Services, size: int) -> datetime | None:
    """When the first checkpoint of more records than that was signed, by the database's clock."""
    with services.engine.connect() as connection:
        signed: datetime | None = connection.execute(sql.FIRST_SIGNED_AFTER, {"size": size}).scalar_one_or_none()
    return signed


@dataclass(frozen=True)
class Look:
    """What was asked for and what there is now.

    Attributes:
        state: what somebody outside has seen; None where nobody is to see anything.
        told: what came of asking, one line each; empty where nobody had to be asked.
        problem: what is wrong for too long, or at once where a witness has seen another ledger; empty where nothing is.
    """

    state: WitnessState | StampState | None
    told: tuple[str, ...] = ()
    problem: str = ""


def look_at_witnesses(services: Services) -> Look:
    """Ask the witnesses about the newest checkpoint, and judge what is missing.

    Raises: as :func:`ask_witnesses` and :func:`witness_state`.
    """
    asked = ask_witnesses(services)
    state = witness_state(services)
    if asked is None or state is None:
        return Look(None)
    problems = list(asked.contradictions.values())
    if state.late:
        reasons = [how for name, how in asked.problems.items() if name not in asked.contradictions]
        silent = f"; {'; '.join(reasons)}" if reasons else ""
        problems.append(
            f"what was sealed since {state.waiting_since:{_MOMENT}} is not cosigned by {state.needed}, for longer than "
            f"the {services.settings.ledger_witness_max_lag_seconds:,} seconds of LEDGER_WITNESS_MAX_LAG_SECONDS"
            f"{silent}"
        )
    return Look(state, tuple(asked.problems.values()), "; ".join(problems))


def look_at_stamps(services: Services) -> Look:
    """Ask for the time stamps that are missing, and judge what still is.

    Raises: as :func:`stamp_days` and :func:`stamp_state`.
    """
    asked = stamp_days(services)
    state = stamp_state(services)
    if state is None:
        return Look(None)
    told = () if asked is None or not asked.problem else (asked.problem,)
    problems = [state.problem] if state.problem else []
    if state.late:
        problems.append(
            f"the last checkpoint of {state.waiting} and of every day after has no time stamp, for longer than the "
            f"{services.settings.ledger_tsa_max_lag_seconds:,} seconds of LEDGER_TSA_MAX_LAG_SECONDS"
        )
        problems += told
    return Look(state, told, "; ".join(problems))
