"""What a cold store is relied on for, tried out.

Here: the trials that every store gets through the port, and what is made of their results. Not here: what one service
alone promises (s3_trials.py, gcs_trials.py).

A trial writes objects below `audit-probe/`, which are nobody's archive, and removes them. What could not be tried is
said to be unknown, and is never taken for kept.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Protocol

from compliance_pipelines.base.health import HealthCheck
from compliance_pipelines.object_store.port import (
    ObjectExistsError,
    ObjectMissingError,
    ObjectReplacedError,
    ObjectStoreError,
    RefusedByStoreError,
    UnsupportedByStoreError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from compliance_pipelines.object_store.port import ObjectStore

PROBES: Final = "audit-probe/"
MOST_SKEW_SECONDS: Final = 60.0
_HELD: Final = f"{PROBES}held/"
_LONG_DONE: Final = timedelta(hours=1)
_NAMES: Final = ("a", "a.p/1", "b/a", "b/b")


class Verdict(Enum):
    """What a trial showed."""

    KEPT = auto()
    BROKEN = auto()
    RISK = auto()  # nothing is broken, and a loss is possible


Found = tuple[Verdict, str, str]
"""The verdict, what was seen, and what to do."""


def try_writing(store: ObjectStore) -> None:
    """Put an object and remove it.

    Raises:
        ObjectStoreError: the store does not take it, or does not let it go.
    """
    key = f"{PROBES}{uuid.uuid4().hex}/written"
    store.put_bytes(key, b"")
    store.delete(key)


def trials_of_the_port(store: ObjectStore) -> Iterator[HealthCheck]:
    """Try what every store promises, with objects that are removed again.

    Args:
        store: the store; it must be there.
    """
    root = f"{PROBES}{uuid.uuid4().hex}/"
    try:
        yield from _tried(root, store)
    finally:
        for name in (*_NAMES, "replaced"):
            _remove(store, root + name)


def _tried(root: str, store: ObjectStore) -> Iterator[HealthCheck]:
    yield tried("it can be reached, written and read", lambda: _written(store, root))
    yield tried("its clock is ours", lambda: _clock(store))
    yield tried("what is put once is never overwritten", lambda: _put_once(store, root + _NAMES[0]))
    yield tried("the checkpoint is replaced by compare and swap", lambda: _swapped(store, f"{root}replaced"))
    yield tried("everything is listed, in the order of the keys", lambda: _listed(store, root))
    yield tried("what is held stays until it is let go of", lambda: _held(store))


class Look(Protocol):
    """Gives the result of a trial a name, and the service's failures the port's words."""

    def __call__(self, promise: str, question: Callable[[], Found], /) -> HealthCheck:
        """The result."""


def looking(naming: Callable[[str, str], AbstractContextManager[None]], where: str) -> Look:
    """How a service is asked.

    Args:
        naming: turns its errors into the port's, with how the message begins, and of what.
        where: the URI of the store.
    """

    def look(promise: str, question: Callable[[], Found], /) -> HealthCheck:
        def named() -> Found:
            try:
                with naming("cannot tell of", where):
                    return question()
            except UnsupportedByStoreError as error:
                return Verdict.RISK, str(error), "ask those who run the service"

        return tried(promise, named)

    return look


def tried(promise: str, trial: Callable[[], Found]) -> HealthCheck:
    """The result of a trial; where the store fails, that it could not be tried, which is no success."""
    try:
        verdict, found, remedy = trial()
    except ObjectStoreError as error:
        return HealthCheck(
            promise, f"it could not be tried: {error}", "docs/cold-storage.md names the rights; repeat it"
        )
    if verdict is Verdict.KEPT:
        return HealthCheck(promise, found or "it is so")
    return HealthCheck(promise, found, remedy, is_risk=verdict is Verdict.RISK)


def _written(store: ObjectStore, root: str) -> Found:
    for name in _NAMES:
        store.put_bytes(root + name, name.encode())
    differing = [name for name in _NAMES if store.get_bytes(root + name) != name.encode()]
    if differing:
        return Verdict.BROKEN, f"{differing[0]} was read back as something else", "use another service"
    return Verdict.KEPT, "", ""


def _clock(store: ObjectStore) -> Found:
    skew = abs((store.now() - datetime.now(UTC)).total_seconds())
    if skew > MOST_SKEW_SECONDS:
        return Verdict.BROKEN, f"it is {skew:.0f} s apart", "keep NTP running on both sides"
    return Verdict.KEPT, f"at most {skew + 1:.0f} s apart", ""


def _put_once(store: ObjectStore, key: str) -> Found:
    try:
        store.put_bytes(key, b"another")
    except ObjectExistsError:
        return Verdict.KEPT, "", ""
    except ObjectStoreError as error:
        return Verdict.BROKEN, str(error), "use a service that knows `If-None-Match`"
    return Verdict.BROKEN, "a second put of the same key was accepted", "use a service that knows `If-None-Match`"


def _swapped(store: ObjectStore, key: str) -> Found:
    store.put_bytes(key, b"1")
    version = store.read_versioned(key, 1).version
    store.replace(key, b"2", version)
    try:
        store.replace(key, b"3", version)
    except (ObjectReplacedError, ObjectMissingError):
        return Verdict.KEPT, "", ""
    return (
        Verdict.BROKEN,
        "an object was replaced that had been replaced before",
        "use a service that knows `If-Match`: without it two databases could seal into one store unnoticed",
    )


def _listed(store: ObjectStore, root: str) -> Found:
    found = [info.key.removeprefix(root) for info in store.list(root) if info.key != f"{root}replaced"]
    if found != list(_NAMES):
        return Verdict.BROKEN, f"{', '.join(_NAMES)} were put, and {', '.join(found)} are listed", "use another service"
    return Verdict.KEPT, "", ""


def _held(store: ObjectStore) -> Found:
    now = datetime.now(UTC)
    _let_go_of_left_probes(store, now)
    key = f"{_HELD}{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex}"
    store.put_bytes(key, b"data")
    try:
        if store.has_hold(key) is None:
            return (
                Verdict.RISK,
                "it knows no holds, so that this project alone keeps what a legal hold covers",
                "keep archives in a bucket with Object Lock",
            )
        store.set_hold(key, held=True)
        return _stays(store, key)
    finally:
        _let_go(store, key)


def _stays(store: ObjectStore, key: str) -> Found:
    try:
        store.delete(key)
    except RefusedByStoreError:
        if store.stat(key) is not None:
            return Verdict.KEPT, "", ""
    return Verdict.BROKEN, "an object was deleted that was held", "use a service that keeps legal holds"


def _let_go_of_left_probes(store: ObjectStore, now: datetime) -> None:
    """Remove the probes of trials that were killed: nothing else would end their holds."""
    earlier = f"{now - _LONG_DONE:%Y%m%dT%H%M%SZ}"
    for info in list(store.list(_HELD)):
        if info.key.removeprefix(_HELD) < earlier:
            _let_go(store, info.key)


def _let_go(store: ObjectStore, key: str) -> None:
    try:
        if store.has_hold(key):
            store.set_hold(key, held=False)
    except ObjectStoreError:
        return  # a later trial does it
    _remove(store, key)


def _remove(store: ObjectStore, key: str) -> None:
    try:
        store.delete(key)
    except ObjectStoreError:
        return  # nothing rests on it, and the next trial has another name
