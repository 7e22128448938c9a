"""Whether the audit log's database is in order, and what to do where it is not.

Here: what `compliance check` asks of the database. Not here: how it is printed; the sealing lag itself, which the
ledger knows; checks of the entries, which are the verification's.

A question that cannot be answered is a failed check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import psycopg
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.audit_log import sql
from compliance_pipelines.audit_log.migrate import current_revision, head_revision, knows_revision
from compliance_pipelines.audit_log.partitions import LEAST_RUNWAY_DAYS, began_without_table, lock_room, runway
from compliance_pipelines.audit_log.quarantine import quarantine_total
from compliance_pipelines.audit_log.sequence import sequence_went_back
from compliance_pipelines.audit_log.standing import (
    PIPELINES,
    READER,
    RoleNotInheritedError,
    refuse_idle_roles,
    standing,
)
from compliance_pipelines.audit_log.visibility import hiding_relations
from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.health import HealthCheck
from compliance_pipelines.postgres.holders import stuck_holders
from compliance_pipelines.postgres.locks import SEALING_LOCK, SEALING_STUCK_AFTER
from compliance_pipelines.postgres.names import shown
from compliance_pipelines.postgres.open_transactions import (
    in_words,
    open_transactions,
    prepared_transactions,
    remedies,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    import sqlalchemy

_NAMED: Final = 5
_MAY_WORK: Final = "may append and archive"
_REMEDY_OF_REFUSAL: Final = "do as it says, and run it again"
_RULES: Final = (
    "audit_logs_entry_fits",
    "audit_logs_indexed_texts_fit",
    "audit_logs_is_not_blinded",
    "audit_logs_log_entry_id_is_given",
    "audit_logs_metadata_is_not_too_deep",
    "audit_logs_timestamp_has_four_digit_year",
    "audit_logs_timestamp_is_finite",
    "audit_logs_timestamp_not_in_future",
)


class SealingLag(Protocol):
    """Tells how long the oldest unsealed entry has been waiting."""

    def __call__(self, connection: sqlalchemy.Connection, now: datetime, /) -> timedelta | None:
        """The age of the oldest unsealed entry; None where all are sealed."""


def check_health(
    engine: sqlalchemy.Engine,
    *,
    now: datetime,
    sealing_lag: SealingLag,
    max_sealing_lag: timedelta,
    stuck_after: timedelta = SEALING_STUCK_AFTER,
) -> list[HealthCheck]:
    """Look at everything, in the order in which it depends on each other.

    Args:
        engine: of the login that the pipelines use.
        now: aware.
        sealing_lag: asks the ledger.
        max_sealing_lag: the lag that is still in order (LEDGER_SEAL_MAX_LAG_SECONDS).
        stuck_after: how long whoever holds the lock of sealing may do nothing (LEDGER_SEAL_MAX_BUSY_SECONDS).

    Returns:
        `connectivity`, `migrations`, `privileges`, `entry rules`, `quarantine`, `id sequence`, `partitions`,
        `partition runway`, `sealing lag`.
    """
    questions: dict[str, Callable[[sqlalchemy.Connection], HealthCheck]] = {
        "connectivity": _connectivity,
        "migrations": _migrations,
        "privileges": _privileges,
        "entry rules": _rules,
        "quarantine": _quarantine,
        "id sequence": _sequence,
        "partitions": _partitions,
        "partition runway": lambda connection: _runway(connection, now),
        "sealing lag": lambda connection: _sealing_lag(
            connection, sealing_lag(connection, now), max_sealing_lag, stuck_after
        ),
    }
    refusal = _refusal(engine)
    if refusal is not None:
        return [HealthCheck(name, f"it cannot be told: {refusal}", _REMEDY_OF_REFUSAL) for name in questions]
    return [_ask(engine, name, question) for name, question in questions.items()]


def _refusal(engine: sqlalchemy.Engine) -> ComplianceError | None:
    """Why no session of the database is used at all: its settings, or a pooler; asked once, for that may take long."""
    try:
        with engine.connect():
            return None
    except ComplianceError as error:
        return error
    except DBAPIError:
        return None  # each question says so


def _ask(engine: sqlalchemy.Engine, name: str, question: Callable[[sqlalchemy.Connection], HealthCheck]) -> HealthCheck:
    try:
        with engine.connect() as connection:
            return question(connection)
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        # Nothing that is asked here needs a right to write.
        remedy = _idle_role(engine) or "run `compliance db migrate`, and grant the login audit_reader"
        if error.connection_invalidated or getattr(error.orig, "sqlstate", None) is None:
            remedy = "start the database, or correct AUDIT_LOG_DATABASE_URL"
        return HealthCheck(name, f"it cannot be told: {reason}", remedy)


def _idle_role(engine: sqlalchemy.Engine) -> str | None:
    """Why the login has none of the rights of its role, with the remedy."""
    try:
        with engine.connect() as connection:
            refuse_idle_roles(connection)
    except RoleNotInheritedError as error:
        return str(error)
    except (DBAPIError, ComplianceError):
        return None
    return None


def _connectivity(connection: sqlalchemy.Connection) -> HealthCheck:
    session = connection.execute(sql.SESSION).one()
    driver = connection.connection.driver_connection
    # The client's view counts: behind a proxy the server may see less.
    encrypted = isinstance(driver, psycopg.Connection) and driver.pgconn.ssl_in_use
    secured = f"over {session.tls or 'TLS'}" if encrypted else "without TLS"
    return HealthCheck(
        "connectivity",
        f"PostgreSQL {session.version}, database {session.database}, login {session.login}, {secured}",
    )


def _migrations(connection: sqlalchemy.Connection) -> HealthCheck:
    current, head = current_revision(connection), head_revision()
    if current == head:
        return HealthCheck("migrations", f"the schema is at revision {head}, the latest")
    if current is not None and not knows_revision(current):
        return HealthCheck(
            "migrations",
            f"the schema is at revision {current}, which this version does not know",
            "install the version of compliance_pipelines that migrated the database",
        )
    at = "has no tables yet" if current is None else f"is at revision {current}"
    return HealthCheck("migrations", f"the schema {at}, the latest revision is {head}", "run `compliance db migrate`")


def _privileges(connection: sqlalchemy.Connection) -> HealthCheck:
    findings = [*_lacking(connection), *_excessive(connection), *_hidden(connection)]
    if not findings:
        is_auditor = standing(connection).is_auditor
        may = "is an auditor's: it reads, and what it reads is on record" if is_auditor else _MAY_WORK
        return HealthCheck("privileges", f"the login {may}; nobody may change or remove entries, triggers included")
    messages, remedies = zip(*findings, strict=True)
    return HealthCheck("privileges", "; ".join(messages), "; ".join(dict.fromkeys(remedies)))


def _lacking(connection: sqlalchemy.Connection) -> list[tuple[str, str]]:
    """What the login cannot do, each with its remedy. An auditor's lacks nothing: it is not meant to write."""
    login = standing(connection)
    if login.is_auditor:
        return []
    if not login.roles and login.idle_roles in {(), (READER,)}:
        if login.idle_roles:
            return [login.idle(READER)]
        return [
            (
                "the login is a member of no role of the audit log",
                "GRANT audit_reader to it; where the pipelines use it, audit_writer and audit_archiver, too",
            )
        ]
    return [
        login.idle(role) if role in login.idle_roles else (f"the login is no member of {role}", f"GRANT {role} to it")
        for role in PIPELINES
        if role not in login.roles
    ]


def _excessive(connection: sqlalchemy.Connection) -> list[tuple[str, str]]:
    """What the login or others can do that nobody should, each with its remedy."""
    login = connection.execute(sql.LOGIN_FACTS).one()
    findings = []
    if login.is_superuser:
        findings.append(("the login is a superuser", "use a login that is only a member of the roles it needs"))
    elif login.may_own:
        findings.append(("the login can become audit_owner", "REVOKE audit_owner from it"))
    if login.owner_may_log_in:
        findings.append(("audit_owner may log in", "ALTER ROLE audit_owner NOLOGIN"))
    grants = connection.execute(sql.GRANTS_TO_CHANGE).all()
    findings += [
        (
            f"{shown(grant.grantee)} has {grant.privilege} on {grant.relation}",
            "revoke that, and find out who granted it",
        )
        for grant in grants[:_NAMED]
    ]
    unguarded = connection.execute(sql.RELATIONS_WITHOUT_TRIGGERS).scalars().all()
    if unguarded:
        findings.append(
            (
                f"the append-only triggers are missing or disabled on {', '.join(unguarded[:_NAMED])}",
                "find out who removed them, put them back, and run `compliance verify --all`",
            )
        )
    return findings


def _hidden(connection: sqlalchemy.Connection) -> list[tuple[str, str]]:
    """What may hide rows from the login, with its remedy."""
    hiding = hiding_relations(connection)
    remedy = "ALTER TABLE ... DISABLE ROW LEVEL SECURITY, and find out who turned it on; nothing is purged until then"
    return [(f"rows may be hidden from the login: {', '.join(hiding[:_NAMED])}", remedy)] if hiding else []


def _rules(connection: sqlalchemy.Connection) -> HealthCheck:
    rules = connection.execute(sql.RULES, {"names": list(_RULES)}).all()
    missing = [rule.name for rule in rules if not rule.present]
    if missing:
        return HealthCheck(
            "entry rules",
            f"constraints of audit_logs are missing: {', '.join(missing)}",
            "find out who dropped them, put them back as the migrations have them, and run `compliance verify --all`",
        )
    unvalidated = sum(not rule.validated for rule in rules)
    if unvalidated:
        return HealthCheck(
            "entry rules", f"the table refuses what breaks a rule; {unvalidated} rules are younger than its entries"
        )
    return HealthCheck("entry rules", "the table refuses what breaks a rule, and holds no entry that does")


def _quarantine(connection: sqlalchemy.Connection) -> HealthCheck:
    found = quarantine_total(connection)
    if found is None:
        return HealthCheck("quarantine", "no entry is in quarantine")
    return HealthCheck(
        "quarantine",
        f"there are {found}" if found.entries > 1 else f"there is {found}",
        "see docs/operations.md: their days are never purged, and nothing but the table itself holds them",
    )


def _sequence(connection: sqlalchemy.Connection) -> HealthCheck:
    found = sequence_went_back(connection)
    if found is None:
        return HealthCheck("id sequence", "new entries get ids that no sealed one has")
    return HealthCheck("id sequence", str(found), found.remedy)


def _partitions(connection: sqlalchemy.Connection) -> HealthCheck:
    room = lock_room(connection)
    message = (
        f"audit_logs has {room.relations:,} partitions of every level; the server's lock table has room for "
        f"{room.most_relations:,}"
    )
    if not room.is_exceeded:
        return HealthCheck("partitions", message)
    return HealthCheck(
        "partitions",
        f"{message}: statements over all of them fail with `out of shared memory`",
        f"run `compliance db repair`, which drops those that are empty; if that is not enough, {room.remedy}",
    )


def _runway(connection: sqlalchemy.Connection, now: datetime) -> HealthCheck:
    ahead = runway(connection, utc_day(now))
    if ahead >= LEAST_RUNWAY_DAYS:
        return HealthCheck("partition runway", f"partitions exist for the next {ahead} days")
    if began_without_table(connection, utc_day(now)):
        return HealthCheck("partition runway", "partitions exist from tomorrow on; today is in a default partition")
    message = "today has no partition" if ahead < 0 else f"partitions exist for the next {ahead} days only"
    return HealthCheck(
        "partition runway", message, "run `compliance run`, and see why the daily job does not make partitions"
    )


def _sealing_lag(
    connection: sqlalchemy.Connection, lag: timedelta | None, most: timedelta, stuck_after: timedelta
) -> HealthCheck:
    """How far sealing is behind, and what it cannot get past by itself, whether that has made it late yet or not."""
    is_late = lag is not None and lag > most
    said = (
        "every entry is sealed"
        if lag is None
        else f"the oldest unsealed entry has waited for {lag.total_seconds():.0f} s"
    )
    if is_late:
        said = f"{said}, more than {most.total_seconds():.0f} s (LEDGER_SEAL_MAX_LAG_SECONDS)"
    stuck = stuck_holders(connection, SEALING_LOCK, stuck_after)
    # A session's transaction ends by itself, mostly; a prepared one does not.
    find = open_transactions if is_late else prepared_transactions
    found = find(connection, longer_than=most)
    messages, remedy = [said], []
    if found:
        messages.append(in_words(found))
        remedy.append(remedies(found))
    if stuck:
        messages.append(f"the lock of sealing is held by what does nothing: {'; '.join(map(str, stuck))}")
        remedy += [holder.remedy for holder in stuck]
    if remedy:
        return HealthCheck("sealing lag", "; ".join(messages), f"{'; '.join(remedy)}; then run `compliance seal`")
    return HealthCheck(
        "sealing lag", said, "run `compliance seal`, and see why the sealing sensor does not" if is_late else None
    )
