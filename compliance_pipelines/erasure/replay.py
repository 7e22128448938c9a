"""Erasing again what was erased before, after a backup brought it back.

Here: whom to erase again, and a request for each. Not here: carrying the requests out (runner.py).

Not erased again is who was erased by mistake, or withdrew the request before it was carried out: the entries of those
decisions name the deletion records that stand for no erasure any more.

A backup of Redis or of an application's database that was made at T brings back whatever was erased after T. The record
in PostgreSQL says whom that concerns. Where PostgreSQL itself came back from a backup, the record ends at T as well,
and with it the audit log; what the archives hold of later days is found there, and what neither holds is lost to us:
the ledger's checkpoints in the cold store show that entries are missing, and not whose they were. See docs/erasure.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from compliance_pipelines.erasure.deletion_records import found_records
from compliance_pipelines.erasure.record import NewRequest, cases_closed_since, record_request
from compliance_pipelines.pseudonyms import is_pseudonym, subjects_from_settings

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from compliance_pipelines.erasure.case import Case, Closure
    from compliance_pipelines.services import Services

REASON: Final = "gdpr_article_17_replay_after_restore"


@dataclass(frozen=True)
class Erased:
    """A person who was erased since a moment.

    Attributes:
        user_id: who.
        request_id: of the last request for them; None where only the audit log knows of it.
        log_entry_id: the deletion record.
        erased_at: when it was recorded.
        aliases: further ids of the person.
    """

    user_id: str
    request_id: int | None
    log_entry_id: str
    erased_at: datetime
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReplayPlan:
    """Whom a replay would erase again.

    Attributes:
        people: each once, in the order of their last erasure.
        unknown: deletion records of people whose pseudonym no candidate has.
    """

    people: tuple[Erased, ...]
    unknown: tuple[str, ...]


def plan_replay(services: Services, since: datetime, *, candidates: Collection[str] = ()) -> ReplayPlan:
    """Whom the record, the audit log and the archives know to have been erased since a moment.

    Args:
        services: the opened services.
        since: when the backup was made, aware; earlier is safe, as erasing what is not there does nothing.
        candidates: user ids that exist now, to which pseudonyms are compared by key.

    Raises:
        UnreadableParquetError: an archive is damaged.
        ObjectStoreError: the store failed, or an archive is missing.
    """
    subjects = subjects_from_settings(services.settings)
    with services.engine.connect() as connection:
        closed = cases_closed_since(connection, since)
    people = {case.user_id: _erased(case, case.closure) for case in closed if case.closure is not None}
    found = found_records(services, since)
    by_name = {name: user_id for user_id in (*candidates, *people) for name in subjects.names(user_id)}
    unknown: list[str] = []
    for record in found.deletions:
        if record.log_entry_id in found.revoked:
            continue
        user_id = by_name.get(record.name)
        if user_id is None and is_pseudonym(record.name):
            unknown.append(record.log_entry_id)
            continue
        user_id = user_id or record.name
        people.setdefault(user_id, Erased(user_id, None, record.log_entry_id, record.timestamp))
    return ReplayPlan(tuple(sorted(people.values(), key=lambda each: each.erased_at)), tuple(unknown))


def _erased(case: Case, closure: Closure) -> Erased:
    aliases = case.identifiers.all[1:]
    return Erased(case.user_id, case.request.id, closure.log_entry_id, closure.closed_at, aliases)


def request_replays(services: Services, plan: ReplayPlan, *, requested_by: str) -> list[Case]:
    """Record a request for each person of a plan; one who has an open request keeps that one.

    Returns:
        The requests, to be carried out.
    """
    return [
        record_request(
            services,
            NewRequest(
                each.user_id,
                REASON,
                requested_by,
                replay_of=each.request_id,
                aliases=each.aliases,
                is_replay=True,
            ),
        )[0]
        for each in plan.people
    ]
