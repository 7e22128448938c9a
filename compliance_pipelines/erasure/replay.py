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

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from compliance_pipelines.erasure.decisions import Correction, correct
from compliance_pipelines.erasure.deletion_records import found_records
from compliance_pipelines.erasure.record import NewRequest, cases_closed_since, open_cases_of, record_request
from compliance_pipelines.pseudonyms import is_pseudonym, subjects_from_settings

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
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
    people: dict[str, Erased] = {}
    for case in closed:
        if case.closure is not None:
            known = people.get(case.user_id)
            people[case.user_id] = _erased(case, case.closure, () if known is None else known.aliases)
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
    return ReplayPlan(_by_person(sorted(people.values(), key=lambda each: each.erased_at)), tuple(unknown))


def _erased(case: Case, closure: Closure, known: tuple[str, ...]) -> Erased:
    aliases = tuple(sorted({*case.identifiers.aliases, *known} - {case.user_id}))
    return Erased(case.user_id, case.request.id, closure.log_entry_id, closure.closed_at, aliases)


def _by_person(erased: Sequence[Erased]) -> tuple[Erased, ...]:
    """What was erased under ids that belong together, as one; the latest erasure names the person."""
    people: list[Erased] = []
    for each in erased:
        ids = {each.user_id, *each.aliases}
        same = [person for person in people if not ids.isdisjoint((person.user_id, *person.aliases))]
        ids.update(user_id for person in same for user_id in (person.user_id, *person.aliases))
        people = [person for person in people if person not in same]
        people.append(dataclasses.replace(each, aliases=tuple(sorted(ids - {each.user_id}))))
    return tuple(people)


def request_replays(services: Services, plan: ReplayPlan, *, requested_by: str) -> list[Case]:
    """Record a request for each person of a plan; one who has an open request keeps that one, with all ids.

    Returns:
        The requests, to be carried out.

    Raises:
        ErasureError: the ids of a person belong to several open requests.
        RequestBusyError: an open request that lacks some of the ids is being carried out.
    """
    return [_request_replay(services, each, requested_by) for each in plan.people]


def _request_replay(services: Services, erased: Erased, requested_by: str) -> Case:
    ids = {erased.user_id, *erased.aliases}
    with services.engine.connect() as connection:
        known = open_cases_of(connection, ids)
    if len(known) == 1 and (lacking := sorted(ids - set(known[0].identifiers.all))):
        correction = Correction(also=tuple(lacking), as_it_is=True)
        return correct(services, known[0].request.id, correction, by=requested_by, reason=REASON)
    new = NewRequest(
        erased.user_id,
        REASON,
        requested_by,
        replay_of=erased.request_id,
        aliases=erased.aliases,
        is_replay=True,
    )
    return record_request(services, new)[0]
