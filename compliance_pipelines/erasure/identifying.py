"""Under which ids a person is looked for.

Here: the ids of the record together with what the tables of the settings say now. Not here: how a table is read
(alias_tables.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.erasure.alias_tables import alias_tables
from compliance_pipelines.erasure.case import EventKind, Identifiers
from compliance_pipelines.erasure.decisions import FROM_TABLE
from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.locks import lock_requests
from compliance_pipelines.erasure.record import add_event, load, open_cases_of, require_id

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.erasure.case import Case
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings


def with_aliases_of_tables(settings: Settings, known: Identifiers) -> Identifiers:
    """The known ids and those that the tables add; nothing is recorded.

    Raises:
        TargetError: a table cannot be used, or an alias is another person's, too.
        ErasureError: an alias is longer than a record takes.
        sqlalchemy.exc.SQLAlchemyError: a database did not answer, or refused.
    """
    aliases = dict(known.aliases)
    decided = frozenset(known.all) | known.dropped
    for table in alias_tables(settings):
        with table:
            for alias in table.read(known.all, decided):
                require_id(alias)
                if alias.strip():
                    aliases.setdefault(alias, f"{FROM_TABLE}{table.location}")
    return Identifiers(known.subject, aliases, known.dropped)


def identify(services: Services, connection: sqlalchemy.Connection, case: Case) -> Case:
    """Put on record what further ids the tables give; once known, an id stays, as erasing may empty the table.

    Args:
        services: the opened services.
        connection: in no transaction, with the request's lock.
        case: the request.

    Raises: as :func:`with_aliases_of_tables`; and
        TargetError: an alias belongs to another open request.
    """
    identifiers = with_aliases_of_tables(services.settings, case.identifiers)
    if identifiers == case.identifiers:
        return case
    with connection.begin():
        lock_requests(connection)
        others = [each for each in open_cases_of(connection, identifiers.all) if each.request.id != case.request.id]
        if others:
            raise TargetError(
                f"erasure request {others[0].request.id} is open for an id that the tables say is this person's, too: "
                "withdraw one of the two"
            )
        add_event(connection, case, case.attempts, EventKind.IDENTIFIED, identifiers=identifiers.to_json())
        return load(connection, case.request.id)
