"""Tables of an application's PostgreSQL that hold rows of a person.

Here: one target for each table of GDPR_SQL_TARGETS: rows are deleted, or columns of them are set to a value. Not here:
the setting (table_rules.py), which rows are a person's (subject_matching.py), and what a database does by itself: rows
that go by ON DELETE CASCADE are not counted, so that a table which refers to another is best named before it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import psycopg.errors
import sqlalchemy
from sqlalchemy import and_, cast, delete, func, literal, not_, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError

from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.set_values import values_for
from compliance_pipelines.erasure.subject_matching import columns_of, match, relation_of
from compliance_pipelines.erasure.table_health import check_table
from compliance_pipelines.erasure.targets import Findings, Item, Reported
from compliance_pipelines.postgres.encryption import DEFAULT_TLS_MIN_VERSION
from compliance_pipelines.postgres.engine import conninfo_of, create_engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from sqlalchemy import ColumnElement, TableClause

    from compliance_pipelines.base.health import HealthCheck
    from compliance_pipelines.erasure.subject_matching import Match, TypedColumn
    from compliance_pipelines.erasure.table_rules import TableRule
    from compliance_pipelines.erasure.targets import RequestFacts

_ROWS_AT_ONCE: Final = 10_000


class TableTarget:
    """The rows of one table.

    Args:
        rule: says which.
        engine: of its database.
        facts: of the request, which values that are set may have in them; None where there is none.
    """

    def __init__(self, rule: TableRule, engine: sqlalchemy.Engine, facts: RequestFacts | None = None) -> None:
        self._rule = rule
        self._engine = engine
        self._facts = facts
        self.name = rule.name or rule.table
        self.location = f"{conninfo_of(engine).place}, {rule.table}"

    @classmethod
    def from_rule(cls, rule: TableRule, *, tls_min_version: str = DEFAULT_TLS_MIN_VERSION) -> TableTarget:
        """The target of an entry; it connects when it is first used.

        Args:
            rule: the entry.
            tls_min_version: oldest TLS version that a remote host may speak.

        Raises:
            ConfigurationError: libpq cannot use the URL, or it would let data travel unencrypted.
        """
        # Where the login's search path leads is where its application keeps the table.
        engine = create_engine(
            rule.database_url.get_secret_value(),
            pool_size=1,
            tls_min_version=tls_min_version,
            left_alone=("search_path",),
        )
        return cls(rule, engine)

    def for_request(self, facts: RequestFacts) -> TableTarget:
        """The same rows, for a request."""
        return TableTarget(self._rule, self._engine, facts)

    def find(self, user_id: str) -> Findings:
        """The person's rows, as one item: they are deleted, or held, together.

        Rows that the column's own `=` takes for the person's, and that are written otherwise, are reported.

        Raises:
            TargetError: table or column do not exist, or it is a view.
            sqlalchemy.exc.SQLAlchemyError: the database did not answer, or refused, as it does where it would leave out
                rows that row security hides from the login.
        """
        rule = self._rule
        with self._engine.connect() as connection:
            rows = self._look_at(connection, user_id)
            days = [
                literal(None) if name is None else summed(self._column(rows.columns, name).element())
                for name, summed in ((rule.first_day_column, func.min), (rule.last_day_column, func.max))
            ]
            found = select(func.count(), *days).select_from(rows.table).where(rows.unfinished)
            count, first, last = connection.execute(found).one()
            alike = 0
            if rows.match.alike is not None:
                others = and_(rows.match.alike, not_(rows.match.theirs))
                alike = connection.execute(select(func.count()).select_from(rows.table).where(others)).scalar_one()
        return Findings(
            (Item(self.name, rule.table, count, first_day=_day(first), last_day=_day(last)),) if count else (),
            (self._reported(alike),) if alike else (),
            () if rows.match.note is None else (rows.match.note,),
        )

    def _reported(self, alike: int) -> Reported:
        rule = self._rule
        why = (
            f"the column {rule.user_column} has the id in another spelling, which the database takes for the same; if "
            "it is the person's, ask for that spelling, too"
        )
        return Reported(self.name, f"{alike} rows of {rule.table}", why, is_theirs=False, count=alike)

    def delete(self, user_id: str, items: Sequence[Item]) -> Mapping[str, int]:
        """Delete the rows, or set their columns, in one transaction.

        Raises:
            TargetError: table or column do not exist, or it is a view; or a constraint does not permit it.
            sqlalchemy.exc.SQLAlchemyError: the database did not answer, or refused.
        """
        if not items:
            return {}
        try:
            with self._engine.begin() as connection:
                rows = self._look_at(connection, user_id)
                statement: sqlalchemy.Delete | sqlalchemy.Update = delete(rows.table).where(rows.unfinished)
                if self._rule.action == "set":
                    values = {
                        name: sqlalchemy.null()
                        if value is None
                        else rows.columns[name].read(_bindable(rows, name, value))
                        for name, value in values_for(self._rule.values, self._facts, user_id).items()
                    }
                    statement = update(rows.table).where(rows.unfinished).values(values)
                return {self.name: connection.execute(statement).rowcount}
        except IntegrityError as error:
            raise TargetError(f"{self.name}: {_refusal(error)}: {self.location}") from None

    def user_ids(self) -> Iterator[str]:
        """Whose rows there are, as the database prints the column.

        Raises: as for :meth:`find`.
        """
        rule = self._rule
        with self._engine.connect() as connection:
            columns = self._columns(connection)
            user = self._column(columns, rule.user_column)
            table = sqlalchemy.table(rule.table, sqlalchemy.column(user.name), schema=rule.db_schema)
            printed = select(user.printed(user.element())).select_from(table)
            ids = printed.where(user.element().is_not(None)).distinct()
            for rows in connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(ids).scalars().partitions():
                yield from rows

    def rescan(self, user_id: str) -> Findings:
        """The same as :meth:`find`: nothing is remembered."""
        return self.find(user_id)

    def check(self) -> list[HealthCheck]:
        """Whether the rows can be found and cleared; see table_health.py."""
        return check_table(self._engine, self._rule)

    def _look_at(self, connection: sqlalchemy.Connection, user_id: str) -> _Rows:
        """The table as the database has it now; its columns' types decide how values are compared."""
        rule = self._rule
        columns = self._columns(connection)
        matched = match(connection, self._column(columns, rule.user_column), user_id)
        unfinished = matched.theirs
        if rule.action == "set":
            done = self._values_of_all_requests(user_id)
            unfinished &= or_(*(self._is_unfinished(columns, name, done) for name in rule.values))
        table = sqlalchemy.table(rule.table, *map(sqlalchemy.column, columns), schema=rule.db_schema)
        return _Rows(table, columns, matched, unfinished)

    def _values_of_all_requests(self, user_id: str) -> list[dict[str, object]]:
        """What rows have that are done: the values of this request, or of an earlier one for the same person."""
        facts = self._facts
        of_each = (
            [facts]
            if facts is None
            else [replace(facts, request_id=each) for each in (facts.request_id, *facts.earlier)]
        )
        return [values_for(self._rule.values, each, user_id) for each in of_each]

    def _is_unfinished(
        self, columns: Mapping[str, TypedColumn], name: str, done: Sequence[Mapping[str, object]]
    ) -> ColumnElement[bool]:
        column = self._column(columns, name)
        different = [
            values[name]
            for place, values in enumerate(done)
            if values[name] not in [each[name] for each in done[:place]]
        ]
        return and_(*(_is_another(column, value) for value in different))

    def _columns(self, connection: sqlalchemy.Connection) -> dict[str, TypedColumn]:
        rule = self._rule
        try:
            return columns_of(connection, relation_of(connection, rule.table, rule.db_schema))
        except TargetError as error:
            raise TargetError(f"{self.name}: {error}: {self.location}") from None

    def _column(self, columns: Mapping[str, TypedColumn], name: str) -> TypedColumn:
        if name not in columns:
            raise TargetError(f"{self.name}: the table {self._rule.table} has no column {name}")
        return columns[name]


@dataclass(frozen=True)
class _Rows:
    """A table, and which rows of it are the person's and not as they should be in the end."""

    table: TableClause
    columns: Mapping[str, TypedColumn]
    match: Match
    unfinished: ColumnElement[bool]


def _refusal(error: IntegrityError) -> str:
    """What a constraint does not permit, without the values of the row, which the server's message has."""
    said = getattr(error.orig, "diag", None)
    constraint = getattr(said, "constraint_name", None) or "a constraint"
    if isinstance(error.orig, psycopg.errors.UniqueViolation):
        return (
            f"{constraint} lets no two rows have the values that are set: put {{request}} or {{pseudonym}} into one of "
            "them; where the person has several rows, set null or delete them"
        )
    return f"{constraint} does not permit it ({getattr(said, 'message_primary', None) or type(error.orig).__name__})"


def _is_another(column: TypedColumn, value: object) -> ColumnElement[bool]:
    """Whether a column holds something else than a JSON value; `null` is SQL's NULL, also in a JSON column."""
    element = column.element()
    if value is None:
        return element.is_not(None)
    if column.is_json:
        # Type json has no equality.
        return cast(element, JSONB).is_distinct_from(cast(literal(value, JSONB), JSONB))
    return element.is_distinct_from(column.stored(value))


def _bindable(rows: _Rows, name: str, value: object) -> object:
    return json.dumps(value) if rows.columns[name].is_json else value


def _day(value: object) -> date | None:
    moment = getattr(value, "date", None)
    if callable(moment):
        return moment()  # type: ignore[no-any-return]
    return value  # type: ignore[return-value]
