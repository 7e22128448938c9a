"""GDPR_SQL_TARGETS: which tables of an application hold rows of people.

Here: the setting and what it must be; reading settings of its kind. Not here: what is done with a table (tables.py).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.set_values import PSEUDONYM, marks_in
from compliance_pipelines.postgres.conninfo import parse
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Rule = TypeVar("Rule", bound=BaseModel)


class TableRule(BaseModel):
    """One entry of GDPR_SQL_TARGETS.

    Attributes:
        name: of the target, in the record; default: the table's.
        database_url: a connection string for PostgreSQL, with TLS unless the host is local.
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

    @property
    def needs_pseudonyms(self) -> bool:
        """Whether a value has the pseudonym of a person in it."""
        return PSEUDONYM in marks_in(self.values)

    @model_validator(mode="after")
    def _values_of_action(self) -> TableRule:
        if (self.action == "set") != bool(self.values):
            raise ValueError("action `set` needs columns under `set`, and action `delete` has none")
        return self

    @model_validator(mode="after")
    def _database_is_postgresql(self) -> TableRule:
        require_postgresql(self.database_url)
        return self


def require_postgresql(database_url: SecretStr) -> None:
    """Let only PostgreSQL pass: how exactly values are compared is known there; `=` may mean anything elsewhere.

    Raises:
        ValueError: libpq cannot use the connection string; the message has nothing of it.
    """
    try:
        parse(database_url.get_secret_value())
    except ConfigurationError as error:
        raise ValueError(
            f"database_url: {error}; rows can be erased in PostgreSQL only, a package can bring a target for another "
            "database along (docs/erasure.md)"
        ) from None


def rules_from_json(text: str) -> tuple[TableRule, ...]:
    """The tables of GDPR_SQL_TARGETS.

    Raises:
        TargetError: it cannot be used; the message names the entry and never a value, as URLs have passwords.
    """
    return rules_from("GDPR_SQL_TARGETS", text, TableRule)


def rules_from(setting: str, text: str, kind: type[Rule]) -> tuple[Rule, ...]:
    """The entries of a setting that is a JSON list.

    Args:
        setting: its name, for messages.
        text: its value.
        kind: what an entry is.

    Raises:
        TargetError: it cannot be used; the message names the entry and never a value, as URLs have passwords.
    """
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise TargetError(f"{setting} is no JSON: {error}") from None
    if not isinstance(parsed, list):
        raise TargetError(f"{setting} must be a list of tables")
    rules = []
    for number, each in enumerate(parsed, 1):
        try:
            rules.append(kind.model_validate(each))
        except ValidationError as error:
            problems = "; ".join(map(_problem, error.errors(include_input=False, include_url=False)))
            raise TargetError(f"{setting} cannot be used: entry {_named(number, each)}: {problems}") from None
    return tuple(rules)


def _problem(problem: ErrorDetails) -> str:
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg']}".removeprefix(": ")


def _named(number: int, entry: object) -> str:
    """The entry by its number, and by the name of its target where it has one."""
    named = (entry.get("name") or entry.get("table")) if isinstance(entry, dict) else None
    return f"{number} ({named})" if isinstance(named, str) else str(number)
