"""GDPR_ALIASES_SQL: tables of an application that say under which further ids a person's data stands.

Here: the setting, and reading it. Not here: what an alias is used for (runner.py).

A row is a person's where the user column is written exactly as one of their ids (subject_matching.py). What the alias
columns of these rows hold is a further id of the person, unless another person's row has it too, in any of these
columns: nobody can tell then whose data stands under it, and a human decides. Rows are looked for by the user column
alone. An e-mail address of a family in a request must not lead to everybody who uses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Self

import sqlalchemy
import sqlalchemy.exc
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from sqlalchemy import and_, literal, select

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.health import HealthCheck
from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.subject_matching import columns_of, match, relation_of
from compliance_pipelines.erasure.table_rules import require_postgresql, rules_from
from compliance_pipelines.postgres.engine import conninfo_of, create_engine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from compliance_pipelines.erasure.subject_matching import TypedColumn
    from compliance_pipelines.settings import Settings

SETTING: Final = "GDPR_ALIASES_SQL"
_MOST: Final = 1000
_NOBODY: Final = "compliance_pipelines: a check"
_MOST_SHOWN: Final = 5


class AliasRule(BaseModel):
    """One entry of GDPR_ALIASES_SQL.

    Attributes:
        database_url: a connection string for PostgreSQL, with TLS unless the host is local.
        db_schema: `schema` in the setting; default: the login's.
        table: says which ids belong together.
        user_column: the id by which rows are found.
        alias_columns: hold further ids of the same person.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    database_url: SecretStr
    db_schema: str | None = Field(default=None, alias="schema")
    table: Annotated[str, Field(min_length=1)]
    user_column: Annotated[str, Field(min_length=1)]
    alias_columns: Annotated[tuple[str, ...], Field(min_length=1)]

    @field_validator("database_url")
    @classmethod
    def _database_is_postgresql(cls, url: SecretStr) -> SecretStr:
        require_postgresql(url)
        return url


class AliasTable:
    """One table.

    Args:
        rule: says which.
        engine: of its database.
    """

    def __init__(self, rule: AliasRule, engine: sqlalchemy.Engine) -> None:
        self._rule = rule
        self._engine = engine
        self.location = f"{conninfo_of(engine).place}, {rule.table}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    def read(self, user_ids: Sequence[str], decided: frozenset[str]) -> list[str]:
        """The further ids of a person.

        Args:
            user_ids: known ones.
            decided: ids of which a human said whether they are the person's; they are not looked at.

        Raises:
            TargetError: table or column do not exist, it is a view, or another person has one of the ids too.
            sqlalchemy.exc.SQLAlchemyError: the database did not answer, or refused.
        """
        rule = self._rule
        found: dict[str, None] = {}
        with self._engine.connect() as connection:
            try:
                columns = columns_of(connection, relation_of(connection, rule.table, rule.db_schema))
            except TargetError as error:
                raise TargetError(f"{SETTING}: {error}: {self.location}") from None
            table = sqlalchemy.table(rule.table, *map(sqlalchemy.column, columns), schema=rule.db_schema)
            aliases = [self._column(columns, name) for name in rule.alias_columns]
            user = self._column(columns, rule.user_column)
            theirs = [match(connection, user, user_id).theirs for user_id in user_ids]
            is_theirs = sqlalchemy.or_(*theirs)
            rows = select(*(alias.printed(alias.element()) for alias in aliases)).select_from(table).where(is_theirs)
            read = connection.execute(rows.limit(_MOST + 1)).all()
            if len(read) > _MOST:
                raise TargetError(
                    f"{self.location}: more than {_MOST:,} rows are this person's: {rule.user_column} names nobody"
                )
            for row in read:
                # What is printed of NULL is the empty text.
                found.update(dict.fromkeys(value for value in row if value and value not in decided))
            named_in = [*aliases, user]
            shared = [alias for alias in found if self._is_anothers(connection, table, named_in, alias, is_theirs)]
        if shared:
            named = ", ".join(map(repr, shared[:_MOST_SHOWN]))
            raise TargetError(
                f"{self.location}: {named} stands in rows of other people, too: say whether it is this person's alone "
                "(compliance erase correct ID --also ...) or not (--drop ...)"
            )
        return list(found)

    def check(self) -> HealthCheck:
        """Whether it can be read; nobody is asked for."""
        named = f"{SETTING}: {self._rule.table}"
        try:
            self.read((_NOBODY,), frozenset())
        except (ComplianceError, sqlalchemy.exc.DBAPIError) as error:
            reason = " ".join(str(getattr(error, "orig", error)).split())
            remedy = f"correct this entry of {SETTING}, or GRANT SELECT on the table to its login"
            return HealthCheck("ids", f"it cannot be read: {reason}", remedy).of(named)
        return HealthCheck("ids", "it can be read").of(named)

    def _is_anothers(
        self,
        connection: sqlalchemy.Connection,
        table: sqlalchemy.TableClause,
        columns: Sequence[TypedColumn],
        alias: str,
        is_theirs: sqlalchemy.ColumnElement[bool],
    ) -> bool:
        has_it = sqlalchemy.or_(*(match(connection, column, alias).theirs for column in columns))
        others = select(literal(1)).select_from(table).where(and_(has_it, is_theirs.is_not(True))).limit(1)
        return connection.execute(others).first() is not None

    def _column(self, columns: Mapping[str, TypedColumn], name: str) -> TypedColumn:
        if name not in columns:
            raise TargetError(f"{SETTING}: the table {self._rule.table} has no column {name}: {self.location}")
        return columns[name]


def alias_tables(settings: Settings) -> list[AliasTable]:
    """The tables of the setting; nothing is connected to yet.

    Raises:
        TargetError: it cannot be used.
        ConfigurationError: a URL would let data travel unencrypted.
    """
    if settings.gdpr_aliases_sql is None:
        return []
    rules = rules_from(SETTING, settings.gdpr_aliases_sql.get_secret_value(), AliasRule)
    return [
        AliasTable(
            rule,
            create_engine(
                rule.database_url.get_secret_value(),
                pool_size=1,
                tls_min_version=settings.audit_log_tls_min_version,
                left_alone=("search_path",),
            ),
        )
        for rule in rules
    ]
