"""Whether Dagster's home is in order: DAGSTER_HOME, its dagster.yaml, and the database that it names.

Here: the questions. Not here: how they are printed (cli/checking.py).

Nothing is made: opening Dagster's instance would make its tables where they are not wanted.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.ref import InstanceRef
from dagster_postgres import PostgresRunStorage
from dagster_postgres.utils import pg_url_from_config
from dagster_shared.check import CheckError
from dagster_shared.error import DagsterError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from compliance_pipelines.base.health import HealthCheck

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_HOME: Final = "DAGSTER_HOME"
_CONFIGURATION: Final = "dagster.yaml"
_CONNECT_SECONDS: Final = 10
_DEFAULT_PORT: Final = 5432
_MOST_SAID: Final = 300
_AUDIT_TABLES: Final = sqlalchemy.text("SELECT to_regclass('public.audit_logs') IS NOT NULL")


def check_home(audit_log_url: str | None) -> list[HealthCheck]:
    """Look at Dagster's home; it raises nothing.

    Args:
        audit_log_url: AUDIT_LOG_DATABASE_URL, which must lead to another database than Dagster's.

    Returns:
        `home`, and where there is one `dagster.yaml` and `storage`.
    """
    named = os.environ.get(_HOME)
    if not named:
        return [
            HealthCheck(
                "home",
                f"{_HOME} is not set: Dagster and `compliance run` are not used from here, and nothing else needs it",
            )
        ]
    home = Path(named)
    if not home.is_absolute() or not home.is_dir():
        what = "is no directory" if home.is_absolute() else "is no absolute path"
        return [HealthCheck("home", f"{_HOME} is {named!r}, which {what}", f"name the directory of {_CONFIGURATION}")]
    return [HealthCheck("home", f"{_HOME} is {named}"), *_check_configuration(home, audit_log_url)]


def _check_configuration(home: Path, audit_log_url: str | None) -> list[HealthCheck]:
    if not (home / _CONFIGURATION).is_file():
        return [
            HealthCheck(
                _CONFIGURATION,
                f"there is none in {home}: Dagster would keep its runs in files, without the limits and retries that "
                "the pipelines rely on",
                f"copy the project's {_CONFIGURATION} there",
            )
        ]
    try:
        reference = InstanceRef.from_dir(str(home))
        storage = reference.run_storage_data
        if storage is None or storage.class_name != PostgresRunStorage.__name__:
            found = HealthCheck(
                "storage",
                f"{_CONFIGURATION} keeps runs elsewhere than in PostgreSQL",
                f"take `storage` from the project's {_CONFIGURATION}",
                is_risk=True,
            )
            return [HealthCheck(_CONFIGURATION, f"{home / _CONFIGURATION} can be read"), found]
        read = process_config(resolve_to_config_type(PostgresRunStorage.config_type()), storage.config_dict)
        if not read.success or read.value is None:
            reasons = "; ".join(error.message for error in read.errors or ())
            return [_unreadable(home, reasons, "set what its `storage` takes from the environment")]
        url = make_url(pg_url_from_config(read.value))
    except (DagsterError, CheckError, yaml.YAMLError, SQLAlchemyError, OSError, ValueError) as error:
        return [_unreadable(home, str(error), f"compare it with the project's {_CONFIGURATION}")]
    return [HealthCheck(_CONFIGURATION, f"{home / _CONFIGURATION} can be read"), _check_storage(url, audit_log_url)]


def _unreadable(home: Path, reason: str, remedy: str) -> HealthCheck:
    said = " ".join(reason.split())
    said = said if len(said) <= _MOST_SAID else said[:_MOST_SAID] + "..."
    return HealthCheck(_CONFIGURATION, f"{home / _CONFIGURATION} cannot be used: {said}", remedy)


def _check_storage(url: URL, audit_log_url: str | None) -> HealthCheck:
    where = f"database {url.database} on {url.host}"
    another = "make a database of its own for Dagster, and name it in DAGSTER_POSTGRES_URL"
    if audit_log_url is not None and _is_same_place(url, audit_log_url):
        return HealthCheck("storage", f"{where} is the audit log's, and both own a table alembic_version", another)
    try:
        engine = sqlalchemy.create_engine(url, connect_args={"connect_timeout": _CONNECT_SECONDS})
        try:
            with engine.connect() as connection:
                has_audit_tables = bool(connection.execute(_AUDIT_TABLES).scalar_one())
        finally:
            engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        return HealthCheck(
            "storage", f"{where} cannot be reached: {reason}", "start it, or correct DAGSTER_POSTGRES_URL"
        )
    if has_audit_tables:
        return HealthCheck("storage", f"{where} holds an audit log, and both own a table alembic_version", another)
    return HealthCheck("storage", f"{where} answers, and is not the audit log's")


def _is_same_place(url: URL, other: str) -> bool:
    try:
        return _place(url) == _place(make_url(other))
    except SQLAlchemyError:
        return False  # the check of that URL says so


def _place(url: URL) -> tuple[object, ...]:
    return (url.host, url.port or _DEFAULT_PORT, url.database)
