"""Each day's last checkpoint gets a time stamp that OpenSSL takes, too; whatever else is answered is stored nowhere."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.ledger.log_reading import EMPTY_LOG, day_key, day_of_key
from compliance_pipelines.ledger.timestamping import (
    Authority,
    BadTimeStampError,
    day_of_stamp,
    load_authority,
    read_authority,
    stamp_days,
    stamp_key,
)
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.settings import ConfigurationError
from tests.support.replies import Reply
from tests.support.time_stamp_authority import TimeStampAuthority, time_stamp_authority
from tests.unit.ledger.logs import extend, record
from tests.unit.ledger.outside import services_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.ledger.timestamping import Stamped

REPLY: Final = "application/timestamp-reply"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimeStampAuthority]:
    with time_stamp_authority(tmp_path_factory.mktemp("tsa") / "authority") as made:
        yield made


@pytest.fixture
def tsa(authority: TimeStampAuthority) -> Iterator[TimeStampAuthority]:
    """The authority, which behaves until the test says otherwise."""
    authority.requests.clear()
    yield authority
    authority.instead = authority.raw = None


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    store = LocalObjectStore(tmp_path / "cold")
    store.create()
    return store


def log_of_days(store: LocalObjectStore, days: int) -> list[date]:
    """A log that sealed once on each of so many days, today the last; the days whose checkpoint is kept."""
    log = EMPTY_LOG
    today = datetime.combine(system_clock().date(), time(0, 0, 1), UTC)
    moments = [today - timedelta(days=days - 1 - number) for number in range(days)]
    for seq, moment in enumerate(moments):
        log = extend(store, log, [record(seq, moment)])
    return [moment.date() for moment in moments[:-1]]


def stamp(store: LocalObjectStore, tsa: TimeStampAuthority, **settings: Any) -> Stamped:  # noqa: ANN401
    given = {"ledger_tsa_url": tsa.url, "ledger_tsa_certificates": tsa.certificates}
    services = services_of(store, clock=system_clock, **{**given, **settings})
    stamped = stamp_days(services)
    assert stamped is not None
    return stamped


def test_a_days_last_checkpoint_is_stamped_and_openssl_takes_the_two_objects(
    store: LocalObjectStore, tmp_path: Path, tsa: TimeStampAuthority
) -> None:
    (yesterday,) = log_of_days(store, 2)

    assert stamp(store, tsa).days == (yesterday,)

    response = store.get_bytes(stamp_key(yesterday))
    assert tsa.verifies(tmp_path / "cold" / day_key(yesterday), tmp_path / "cold" / stamp_key(yesterday))
    told = read_authority(tsa.certificates).time_of(store.get_bytes(day_key(yesterday)), response)
    assert abs(told - system_clock()) < timedelta(minutes=10)
    assert stamp(store, tsa) == stamp(store, tsa), "nothing is left to do"
    assert len(tsa.requests) == 1


def test_a_backlog_is_worked_off_a_few_days_at_a_time_the_newest_first_and_no_further_than_a_month(
    store: LocalObjectStore, tsa: TimeStampAuthority
) -> None:
    days = log_of_days(store, 40)

    first = stamp(store, tsa)

    assert first.days == tuple(days[-4:])
    while stamp(store, tsa).days:
        pass
    assert [day for day in days if store.stat(stamp_key(day)) is not None] == days[-31:]


def test_without_an_authority_or_a_day_that_is_over_nobody_is_asked(
    store: LocalObjectStore, tsa: TimeStampAuthority
) -> None:
    assert stamp_days(services_of(store)) is None
    log_of_days(store, 1)
    assert stamp(store, tsa) == stamp(store, tsa)
    assert not tsa.requests


def error(_tsa: TimeStampAuthority) -> Callable[[bytes], Reply]:
    return lambda _request: Reply(503)


def another_type(tsa: TimeStampAuthority) -> Callable[[bytes], Reply]:
    return lambda request: Reply(200, tsa.reply_to(request), "text/html")


def garbage(_tsa: TimeStampAuthority) -> Callable[[bytes], Reply]:
    return lambda _request: Reply(200, b"\x30\x03\x02\x01\x00", REPLY)


def a_rejection(tsa: TimeStampAuthority) -> Callable[[bytes], Reply]:
    return lambda _request: Reply(200, tsa.reply_to(b"\x30\x00"), REPLY)


def a_stamp_of_something_else(tsa: TimeStampAuthority) -> Callable[[bytes], Reply]:
    query = tsa.directory / "other.tsq"
    tsa.openssl("ts", "-query", "-digest", "00" * 32, "-sha256", "-cert", "-out", str(query))
    return lambda _request: Reply(200, tsa.reply_to(query.read_bytes()), REPLY)


def an_earlier_stamp(tsa: TimeStampAuthority) -> Callable[[bytes], Reply]:
    """Of the same bytes, and of another request."""

    def replay(request: bytes) -> Reply:
        end = request.rindex(b"\x01\x01\xff")  # that the certificate is wanted, after the nonce
        other = request[: end - 4] + bytes(byte ^ 0x11 for byte in request[end - 4 : end]) + request[end:]
        return Reply(200, tsa.reply_to(other), REPLY)

    return replay


def too_much(_tsa: TimeStampAuthority) -> Callable[[bytes], Reply]:
    return lambda _request: Reply(200, bytes(2**17), REPLY)


def elsewhere(tsa: TimeStampAuthority) -> Callable[[bytes], Reply]:
    return lambda _request: Reply(301, headers={"Location": tsa.url})


@pytest.mark.parametrize(
    "fault",
    [error, another_type, garbage, a_rejection, a_stamp_of_something_else, an_earlier_stamp, too_much, elsewhere],
)
def test_what_is_no_time_stamp_of_the_request_is_told_and_retried(
    store: LocalObjectStore,
    tsa: TimeStampAuthority,
    fault: Callable[[TimeStampAuthority], Callable[[bytes], Reply]],
) -> None:
    (yesterday,) = log_of_days(store, 2)
    tsa.instead = fault(tsa)

    failed = stamp(store, tsa)

    assert not failed.days
    assert failed.problem.startswith(f"{yesterday}: the time-stamp authority") or "cannot be asked" in failed.problem
    assert store.stat(stamp_key(yesterday)) is None
    assert len(tsa.requests) == 1
    tsa.instead = None
    assert stamp(store, tsa).days == (yesterday,)


def test_an_authority_that_never_comes_to_an_end_is_left(store: LocalObjectStore, tsa: TimeStampAuthority) -> None:
    (yesterday,) = log_of_days(store, 2)

    def says_nothing(connection: Any) -> None:  # noqa: ANN401 - a socket
        connection.recv(1)

    tsa.raw = says_nothing

    failed = stamp(store, tsa, ledger_outside_timeout_seconds=0.5)

    assert not failed.days
    assert str(yesterday) in failed.problem


def test_a_stamp_by_another_authority_is_none(store: LocalObjectStore, tmp_path: Path, tsa: TimeStampAuthority) -> None:
    (yesterday,) = log_of_days(store, 2)
    with time_stamp_authority(tmp_path / "other") as other:
        failed = stamp(store, tsa, ledger_tsa_certificates=other.certificates)

    assert "no time stamp over the day's checkpoint by this authority" in failed.problem
    assert store.stat(stamp_key(yesterday)) is None


def test_a_stamp_fits_its_bytes_alone(store: LocalObjectStore, tsa: TimeStampAuthority) -> None:
    (yesterday,) = log_of_days(store, 2)
    stamp(store, tsa)
    note, response = store.get_bytes(day_key(yesterday)), store.get_bytes(stamp_key(yesterday))
    known = read_authority(tsa.certificates)

    for stamped, given in ((note + b"\n", response), (b"", response), (note, b""), (note, response[:-1])):
        with pytest.raises(BadTimeStampError):
            known.time_of(stamped, given)


def test_certificates_that_cannot_be_used_are_told_by_their_setting(
    store: LocalObjectStore, tmp_path: Path, tsa: TimeStampAuthority
) -> None:
    log_of_days(store, 2)
    with pytest.raises(ConfigurationError, match="LEDGER_TSA_CERTIFICATES is not"):
        stamp(store, tsa, ledger_tsa_certificates=None)
    with pytest.raises(ConfigurationError, match="LEDGER_TSA_URL cannot be used"):
        stamp(store, tsa, ledger_tsa_url="file:///etc/passwd")
    with pytest.raises(ConfigurationError, match="LEDGER_TSA_CERTIFICATES cannot be used"):
        stamp(store, tsa, ledger_tsa_certificates=tmp_path / "missing")
    with pytest.raises(ComplianceError, match="no certificate"):
        Authority(b"nothing")
    assert load_authority(services_of(store).settings) is None


def test_keys_of_stamps_are_those_of_days_and_no_others() -> None:
    day = datetime(2026, 11, 27, tzinfo=UTC).date()
    assert day_of_stamp(stamp_key(day)) == day
    assert day_of_key(stamp_key(day)) is None
    assert day_of_stamp(day_key(day)) is None
    assert day_of_stamp("audit-ledger/checkpoints/2026/13/2026-13-01.tsr") is None
