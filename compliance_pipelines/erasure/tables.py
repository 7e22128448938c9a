"""Tables of an application's PostgreSQL that hold rows of a person.

Here: GDPR_SQL_TARGETS, and one target for each table that it names: rows are deleted, or columns of them are set to a
value. Not here: what a database does by itself; rows that go by ON DELETE CASCADE are not counted, so that a table
which refers to another is best named before it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import sqlalchemy
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from sqlalchemy import cast, delete, func, literal, or_, select, update
from sqlalchemy.exc import NoSuchTableError

from compliance_pipelines.database import create_engine
from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.targets import Findings, Item

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from sqlalchemy import ColumnElement, Table


class TableRule(BaseModel):
    """One entry of GDPR_SQL_TARGETS.

    Attributes:
        name: of the target, in the record; default: the table's.
        database_url: PostgreSQL's, with TLS unless the host is local.
        db_schema: `schema` in the setting; default: the login's.
        table: holds rows of people.
        user_column: says whose a row is.
        action: `delete` the rows, or `set` columns of them.
        values: `set` in the setting: columns and the JSON values that they get.
        first_day_column: a date or time column that says since when a row was active, for holds on days.
        last_day_column: the same, until when.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str | None = None
    database_url: SecretStr
    db_schema: str | None = Field(default=None, alias="schema")
    table: Annotated[str, Field(min_length=1)]
    user_column: Annotated[str, Field(min_length=1)]
    action: Literal["delete", "set"]
    values: dict[str, Any] = Field(default_factory=dict, alias="set")
    first_day_column: str | None = None
    last_day_column: str | None = None

    @model_validator(mode="after")
    def _values_of_action(self) -> TableRule:
        if (self.action == "set") != bool(self.values):
            raise ValueError("action `set` needs columns under `set`, and action `delete` has none")
        return self


def rules_from_json(text: str) -> tuple[TableRule, ...]:
    """The tables of GDPR_SQL_TARGETS.

    Raises:
        TargetError: it cannot be used; the message names the entry and never a value, as URLs have passwords.
    """
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise TargetError(f"GDPR_SQL_TARGETS is no JSON: {error}") from None
    if not isinstance(parsed, list):
        raise TargetError("GDPR_SQL_TARGETS must be a list of tables")
    rules = []
    for number, each in enumerate(parsed, 1):
        try:
            rules.append(TableRule.model_validate(each))
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}".removeprefix(": ")
                for problem in error.errors(include_input=False, include_url=False)
            )
            raise TargetError(f"GDPR_SQL_TARGETS cannot be used: entry {number}: {problems}") from None
    return tuple(rules)


class TableTarget:
    """The rows of one table.

    Args:
        rule: says which.
        engine: of its database.
    """

    def __init__(self, rule: TableRule, engine: sqlalchemy.Engine) -> None:
        self._rule = rule
        self._engine = engine
        self.name = rule.name or rule.table
        self.location = f"{engine.url.set(username=None, password=None, query={}).render_as_string()}, {rule.table}"

    @classmethod
    def from_rule(cls, rule: TableRule) -> TableTarget:
        """The target of an entry; it connects when it is first used.

        Raises:
            ConfigurationError: the URL is malformed, or would let data travel unencrypted.
        """
        # Where the login's search path leads is where its application keeps the table.
        engine = create_engine(rule.database_url.get_secret_value(), pool_size=1, left_alone=("search_path",))
        return cls(rule, engine)

    def find(self, user_id: str) -> Findings:
        """The person's rows, as one item: they are deleted, or held, together.

        Raises:
            TargetError: table or column do not exist.
            sqlalchemy.exc.SQLAlchemyError: the database did not answer, or refused.
        """
        table = self._table()
        days = [
            func.min(self._column(table, self._rule.first_day_column))
            if self._rule.first_day_column
            else literal(None),
            func.max(self._column(table, self._rule.last_day_column)) if self._rule.last_day_column else literal(None),
        ]
        counted = select(func.count(), *days).where(self._rows(table, user_id))
        with self._engine.connect() as connection:
            count, first, last = connection.execute(counted).one()
        if not count:
            return Findings()
        return Findings((Item(self.name, self._rule.table, count, first_day=_day(first), last_day=_day(last)),))

    def delete(self, user_id: str, items: Sequence[Item]) -> Mapping[str, int]:
        """Delete the rows, or set their columns, in one transaction.

        Raises:
            TargetError: table or column do not exist.
            sqlalchemy.exc.SQLAlchemyError: the database did not answer, or refused.
        """
        if not items:
            return {}
        table = self._table()
        rows = self._rows(table, user_id)
        statement = (
            delete(table).where(rows)
            if self._rule.action == "delete"
            else update(table).where(rows).values({name: _bound(value) for name, value in self._rule.values.items()})
        )
        with self._engine.begin() as connection:
            return {self.name: connection.execute(statement).rowcount}

    def rescan(self, user_id: str) -> Findings:
        """The same as :meth:`find`: nothing is remembered."""
        return self.find(user_id)

    def _table(self) -> Table:
        """The table as the database has it now; its columns' types decide how values are compared."""
        try:
            return sqlalchemy.Table(
                self._rule.table,
                sqlalchemy.MetaData(),
                schema=self._rule.db_schema,
                autoload_with=self._engine,
                resolve_fks=False,
            )
        except NoSuchTableError:
            raise TargetError(f"{self.name}: there is no table {self._rule.table} in {self.location}") from None

    def _column(self, table: Table, name: str) -> sqlalchemy.Column[Any]:
        if name not in table.columns:
            raise TargetError(f"{self.name}: the table {self._rule.table} has no column {name}")
        return table.columns[name]

    def _rows(self, table: Table, user_id: str) -> ColumnElement[bool]:
        """The person's rows that are not as they should be in the end."""
        column = self._column(table, self._rule.user_column)
        is_theirs = column == cast(literal(user_id, sqlalchemy.String), column.type)
        if self._rule.action == "delete":
            return is_theirs
        return is_theirs & or_(
            *(self._column(table, name).is_distinct_from(_bound(value)) for name, value in self._rule.values.items())
        )


def _bound(value: object) -> object:
    """A JSON value for a statement; `null` is SQL's NULL, also in a JSON column."""
    return sqlalchemy.null() if value is None else value


def _day(value: object) -> date | None:
    moment = getattr(value, "date", None)
    if callable(moment):
        return moment()  # type: ignore[no-any-return]
    return value  # type: ignore[return-value]
