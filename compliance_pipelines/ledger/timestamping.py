"""Time stamps (RFC 3161) over the last checkpoint of each day, beside it in the cold store.

Here: asking a time-stamp authority, checking what it gives against its certificates, and where it is put. Not here:
whether one is missing for too long (outside.py).

    audit-ledger/checkpoints/2026/11/2026-11-27        the last checkpoint of a day (log_reading.py)
    audit-ledger/checkpoints/2026/11/2026-11-27.tsr    the authority's response (DER) over that object's bytes

The object's bytes are what is stamped, as they are, so that `openssl ts -verify` takes the two files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from compliance_pipelines.base.asking import Deadline, NoAnswerError, ask_all, post
from compliance_pipelines.base.clock import days_before, utc_day
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.printable import printable
from compliance_pipelines.ledger.log_reading import DAYS, MOST_NOTE_BYTES, day_key, day_of_key, opened, read_chain
from compliance_pipelines.ledger.witnesses import MalformedPolicyError, checked_url
from compliance_pipelines.object_store.bounded import read_bounded
from compliance_pipelines.object_store.port import ObjectExistsError, OversizedObjectError
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings

MOST_STAMP_BYTES: Final = 2**16
"""No time stamp that is read has more bytes."""
DAYS_BACK: Final = 31
"""Days after which a missing time stamp is asked for no more: later ones cover the day's checkpoint, too."""

_SUFFIX: Final = ".tsr"
_MOST_CERTIFICATES_BYTES: Final = 2**20
_MOST_AT_ONCE: Final = 4
_MOST_AHEAD: Final = timedelta(minutes=5)
_MOST_SAID: Final = 300
_OK: Final = 200
_QUERY: Final = "application/timestamp-query"
_REPLY: Final = "application/timestamp-reply"


class BadTimeStampError(ComplianceError):
    """What stands for a time stamp is none of these bytes by this authority."""


def stamp_key(day: date) -> str:
    """The key of the time stamp over a day's last checkpoint."""
    return day_key(day) + _SUFFIX


def day_of_stamp(key: str) -> date | None:
    """The day whose time stamp a key stands for; None where it stands for none."""
    return day_of_key(key.removesuffix(_SUFFIX)) if key.endswith(_SUFFIX) else None


class Authority:
    """A time-stamp authority as it is known by its certificates.

    Args:
        pem: the certificate of its root, and of those between that and the one that stamps, where stamps do not bring
            them.

    Raises:
        ComplianceError: it holds none.
    """

    def __init__(self, pem: bytes) -> None:
        try:
            self._certificates = x509.load_pem_x509_certificates(pem)
        except ValueError as error:
            raise ComplianceError(f"there is no certificate (PEM) in it: {error}") from error

    def time_of(self, stamped: bytes, response: bytes, *, nonce: int | None = None) -> datetime:
        """When the authority stamped these bytes.

        Args:
            stamped: what the time stamp is over.
            response: DER (RFC 3161 section 2.4.2), at most MOST_STAMP_BYTES.
            nonce: of the request, which a fresh response repeats.

        Raises:
            BadTimeStampError: it is no time stamp of them, or not by this authority.
        """
        try:
            decoded = decode_timestamp_response(response)
            verifier = VerifierBuilder(roots=list(self._certificates), nonce=nonce).build()
            verifier.verify_message(decoded, stamped)
            time: datetime = decoded.tst_info.gen_time
        except (VerificationError, ValueError, OverflowError) as error:
            raise BadTimeStampError(
                f"it is no time stamp over the day's checkpoint by this authority: {printable(str(error), _MOST_SAID)}"
            ) from error
        return time


def read_authority(path: Path) -> Authority:
    """The authority whose certificates a file holds.

    Raises:
        ComplianceError: it cannot be read, or holds none.
    """
    try:
        with path.open("rb") as file:
            return Authority(file.read(_MOST_CERTIFICATES_BYTES))
    except (OSError, ComplianceError) as error:
        raise ComplianceError(f"the time-stamp authority's certificates cannot be read from {path}: {error}") from error


def load_authority(settings: Settings) -> Authority | None:
    """The authority of LEDGER_TSA_CERTIFICATES; None where it is not set.

    Raises:
        ConfigurationError: it cannot be used.
    """
    if settings.ledger_tsa_certificates is None:
        return None
    try:
        return read_authority(settings.ledger_tsa_certificates)
    except ComplianceError as error:
        raise ConfigurationError(f"LEDGER_TSA_CERTIFICATES cannot be used: {error}") from error


def authority_url(settings: Settings) -> str | None:
    """Where the authority is asked; None where LEDGER_TSA_URL is not set.

    Raises:
        ConfigurationError: it cannot be used, or LEDGER_TSA_CERTIFICATES is not set.
    """
    if settings.ledger_tsa_url is None:
        return None
    if settings.ledger_tsa_certificates is None:
        raise ConfigurationError(
            "LEDGER_TSA_URL is set and LEDGER_TSA_CERTIFICATES is not: a time stamp that cannot be checked is not "
            "stored; give the file with the authority's certificates"
        )
    try:
        return checked_url(settings.ledger_tsa_url)
    except MalformedPolicyError as error:
        raise ConfigurationError(f"LEDGER_TSA_URL cannot be used: {error}") from error


@dataclass(frozen=True)
class Stamped:
    """What came of asking for time stamps.

    Attributes:
        days: whose checkpoints got one now.
        problem: why one that is missing could not be had; empty where none is missing.
    """

    days: tuple[date, ...] = field(default=())
    problem: str = ""


def recent_days(store: ObjectStore, today: date) -> Mapping[date, bool]:
    """The days of the last DAYS_BACK whose last checkpoint is kept, oldest first, and whether each has a time stamp.

    Raises:
        ObjectStoreError: the store cannot be listed.
    """
    days: dict[date, bool] = {}
    for info in store.list(DAYS, start_after=day_key(days_before(today, DAYS_BACK + 1))):
        day, stamped = day_of_key(info.key), day_of_stamp(info.key)
        if day is not None:
            days.setdefault(day, False)
        elif stamped in days:
            days[stamped] = True
    return days


def stamp_days(services: Services) -> Stamped | None:
    """Get the time stamps that are missing, of the newest days first; None where no authority is to be asked.

    At most four in a call, for LEDGER_OUTSIDE_TIMEOUT_SECONDS in all.

    Raises:
        ConfigurationError: LEDGER_TSA_URL or LEDGER_TSA_CERTIFICATES cannot be used.
        LedgerError: a day's checkpoint is none, or not signed by the ledger's key.
        ObjectStoreError: the store failed.
    """
    url, authority = authority_url(services.settings), load_authority(services.settings)
    if url is None or authority is None:
        return None
    missing = [day for day, has in recent_days(services.store, utc_day(services.clock())).items() if not has]
    if not missing:
        return Stamped()
    asked = missing[::-1][:_MOST_AT_ONCE]
    stamps = _stamps(services, url, authority, asked)
    done: list[date] = []
    problem = ""
    for day, stamp in stamps.items():
        if isinstance(stamp, bytes):
            _put(services.store, day, stamp)
            done.append(day)
        elif isinstance(stamp, ComplianceError):
            problem = problem or f"{day}: {stamp}"
        else:
            raise stamp
    return Stamped(tuple(sorted(done)), problem)


def _stamps(
    services: Services, url: str, authority: Authority, days: Sequence[date]
) -> Mapping[date, bytes | BaseException]:
    seconds = services.settings.ledger_outside_timeout_seconds
    deadline = Deadline(seconds)
    questions = {}
    for day in days:
        note = _note_of(services, day)
        questions[day.isoformat()] = partial(_stamp, url, authority, note, deadline, services.clock() + _MOST_AHEAD)
    return {date.fromisoformat(name): answer for name, answer in ask_all(questions, seconds).items()}


def _note_of(services: Services, day: date) -> bytes:
    key = day_key(day)
    try:
        note = read_bounded(services.store, key, MOST_NOTE_BYTES)
    except OversizedObjectError as error:
        raise BadTimeStampError(f"{services.store.locate(key)} is not stamped: {error}") from error
    opened(note, read_chain(services.store, services.verifier_key), services.store.locate(key))
    return note


def _stamp(url: str, authority: Authority, stamped: bytes, deadline: Deadline, latest: datetime) -> bytes:
    """The authority's response over some bytes, which was checked."""
    request = TimestampRequestBuilder().data(stamped).hash_algorithm(HashAlgorithm.SHA256).build()
    answer = post(url, request.as_bytes(), content_type=_QUERY, accept=_REPLY, deadline=deadline, most=MOST_STAMP_BYTES)
    if answer.status != _OK or answer.content_type != _REPLY:
        raise NoAnswerError(f"the time-stamp authority {url} answers {answer} of the type {answer.content_type!r}")
    try:
        time = authority.time_of(stamped, answer.body, nonce=request.nonce)
    except BadTimeStampError as error:
        raise NoAnswerError(f"the time-stamp authority {url} answers with something else: {error}") from error
    if time > latest:
        raise NoAnswerError(f"the time-stamp authority {url} stamps a time that has not come: {time.isoformat()}")
    return answer.body


def _put(store: ObjectStore, day: date, stamp: bytes) -> None:
    try:
        store.put_bytes(stamp_key(day), stamp)
    except ObjectExistsError:
        return  # another process asked at the same time; one is as good as the other
