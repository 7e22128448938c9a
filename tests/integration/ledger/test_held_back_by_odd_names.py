"""What holds sealing back is named, whatever encoding its names are in: all databases of a server share them."""

from __future__ import annotations

import dataclasses
import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
from psycopg.pq import ConnStatus, ExecStatus, PGconn, TransactionStatus

from compliance_pipelines.audit_log.health import check_health
from compliance_pipelines.ledger.lag import sealing_lag
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.orchestration.checks import sealing_lag_verdict, sealing_verdict
from compliance_pipelines.postgres.conninfo import parse
from compliance_pipelines.postgres.engine import conninfo_of, create_engine
from compliance_pipelines.postgres.holders import advisory_lock_holders, stuck_holders, table_locks_held
from tests.integration.ledger.test_held_back import _OLD, append, held, server
from tests.support.command import Command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from compliance_pipelines.services import Services

__all__ = ["held", "server"]  # fixtures

ENCODINGS: Final = {"LATIN1": "latin1", "SQL_ASCII": "latin1", "UTF8": "utf-8", "EUC_JP": "euc_jp"}
"""With a codec that accepts what the encoding does."""
GIDS: Final = (b"caf\xe9", "caf\u00e9".encode(), "o'r\\p\"h`an\n\u202e\u4e2d ".encode(), b"\xa4\xa2\\' $1 %s ;--")
LATIN1: Final = b"donn\xe9es"
ROLE: Final = b"h\xe9l\xe8ne"
SHOWN_ROLE: Final = r"h\xe9l\xe8ne"
SHOWN_DATABASE: Final = r"donn\xe9es"
_ROLLBACK: Final = re.compile(r"`(ROLLBACK PREPARED .*?)` \(or")
_PASSWORD: Final = b"pw"


def _has(encoding: str, name: bytes) -> bool:
    try:
        name.decode(ENCODINGS[encoding])
    except UnicodeDecodeError:
        return False
    return True


class Raw:
    """A connection that takes bytes and gives bytes, as a program that knows nothing of UTF-8."""

    def __init__(self, server: EmbeddedPostgres, database: bytes, *, login: bytes = b"", encoding: str = "") -> None:
        place = parse(server.url("postgres")).changed(client_encoding=encoding or "SQL_ASCII").for_libpq().encode()
        who = b" user='%s' password='%s'" % (login, _PASSWORD) if login else b""
        self.pgconn = PGconn.connect(place + b" dbname='%s'" % database + who)
        assert self.pgconn.status == ConnStatus.OK, self.pgconn.error_message

    def __call__(self, statement: bytes) -> bytes | None:
        result = self.pgconn.exec_(statement)
        assert result.status in {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}, result.error_message
        return result.get_value(0, 0) if result.ntuples else None

    def close(self) -> None:
        if self.pgconn.transaction_status == TransactionStatus.INTRANS:
            self(b"ROLLBACK")
        self.pgconn.finish()


@contextmanager
def raw(server: EmbeddedPostgres, database: bytes, *, login: bytes = b"", encoding: str = "") -> Iterator[Raw]:
    connection = Raw(server, database, login=login, encoding=encoding)
    try:
        yield connection
    finally:
        connection.close()


@pytest.fixture(scope="module")
def odd(server: EmbeddedPostgres) -> EmbeddedPostgres:
    """The server, with databases of other encodings, and one and a role that have names in LATIN1."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        for encoding in ENCODINGS:
            create = f"CREATE DATABASE in_{encoding} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
            connection.execute(create.encode())
    with raw(server, b"in_latin1") as administrator:
        administrator(b"CREATE DATABASE \"%s\" ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0" % LATIN1)
        administrator(b"CREATE ROLE \"%s\" LOGIN PASSWORD '%s'" % (ROLE, _PASSWORD))
    return server


@contextmanager
def prepared(server: EmbeddedPostgres, gid: bytes, database: bytes, *, login: bytes = b"") -> Iterator[None]:
    """An orphan, older than a second; ended at the end unless the test did."""
    literal = b"'%s'" % gid.replace(b"'", b"''")
    with raw(server, database, login=login) as connection:
        connection(b"BEGIN")
        connection(b"SELECT pg_current_xact_id()")
        connection(b"PREPARE TRANSACTION " + literal)
        try:
            while connection(_OLD.encode()) != b"t":
                pass
            yield
        finally:
            if connection(b"SELECT count(*) FROM pg_prepared_xacts") != b"0":
                connection(b"ROLLBACK PREPARED " + literal)


@pytest.mark.parametrize(
    ("encoding", "gid"), [(encoding, gid) for encoding in ENCODINGS for gid in GIDS if _has(encoding, gid)]
)
def test_a_prepared_transaction_is_named_and_ended_by_what_is_said(
    odd: EmbeddedPostgres, held: Services, encoding: str, gid: bytes
) -> None:
    database = f"in_{encoding}".lower().encode()
    with prepared(odd, gid, database):
        append(held, 3)
        result = seal(held)
        assert result.entries == 0
        (orphan,) = result.held_back
        assert f"{orphan}{orphan.remedy}".isprintable()
        found = _ROLLBACK.search(orphan.remedy)
        assert found is not None
        with raw(odd, database, encoding="UTF8") as pasted:
            pasted(found[1].encode())
        assert seal(held).entries == 3


def test_the_commands_and_checks_name_it_and_end_in_no_traceback(
    odd: EmbeddedPostgres,
    held: Services,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    command = Command(monkeypatch, capsys, tmp_path)
    command.use(held.settings)
    command.set(LEDGER_SEAL_MAX_LAG_SECONDS="1")
    named = rf"the prepared transaction E'c\xe9' of {SHOWN_ROLE} in the database {SHOWN_DATABASE}, since "
    with prepared(odd, b"c\xe9", LATIN1, login=ROLE):
        append(held, 1)
        outcome = command("seal")
        assert (outcome.status, outcome.out) == (1, "nothing to seal\n")
        assert outcome.err.startswith(f"held back by {named}")
        assert rf"in the database {SHOWN_DATABASE}, as {SHOWN_ROLE} or a superuser" in outcome.err
        checked = command("check")
        assert (checked.status, checked.err) == (1, "")
        assert named in checked.out
        assert named in (sealing_verdict(held).problem or "")
        late = dataclasses.replace(held, clock=lambda: datetime.now(UTC) + timedelta(hours=1))
        assert named in sealing_lag_verdict(late).description
    assert command("seal").status == 0


def test_a_session_is_named_too(odd: EmbeddedPostgres, held: Services) -> None:
    with raw(odd, LATIN1, login=ROLE) as connection:
        connection(b"SET application_name = 'progr\xe8s'")
        connection(b"BEGIN")
        connection(b"SELECT pg_current_xact_id()")
        append(held, 1)
        late = dataclasses.replace(held, clock=lambda: datetime.now(UTC) + timedelta(hours=1))
        problem = sealing_lag_verdict(late).description
        assert f"the transaction of session {connection.pgconn.backend_pid} of {SHOWN_ROLE}" in problem
        assert f"in the database {SHOWN_DATABASE}" in problem
        assert problem.isprintable()
        assert seal(held).entries == 0


def test_a_holder_of_locks_is_named_too(odd: EmbeddedPostgres, held: Services) -> None:
    with raw(odd, b"one_test") as administrator:
        administrator(b"""DO $$ BEGIN EXECUTE (SELECT format('GRANT audit_archiver TO %I', rolname)
                          FROM pg_roles WHERE rolname LIKE 'h%') ; END $$""")
    with raw(odd, b"one_test", login=ROLE) as connection:
        connection(b"BEGIN")
        connection(b"LOCK TABLE audit_logs IN ACCESS SHARE MODE")
        connection(b"SELECT pg_advisory_lock(hashtext('compliance_pipelines.sealing'), hashtext(''))")
        found = str(advisory_lock_holders(conninfo_of(held.engine), "sealing"))
        assert f"session {connection.pgconn.backend_pid} of {SHOWN_ROLE}" in found
        assert f" of {SHOWN_ROLE}" in table_locks_held(conninfo_of(held.engine))
        connection(b"COMMIT")
        of_superuser = create_engine(odd.url("one_test"), pool_size=1)
        with of_superuser.connect() as looking:
            (holder,) = stuck_holders(looking, "sealing", timedelta())
        of_superuser.dispose()
        assert f" of {SHOWN_ROLE}" in str(holder)


def test_a_grant_to_such_a_role_is_told(odd: EmbeddedPostgres, held: Services) -> None:
    with raw(odd, b"one_test") as administrator:
        administrator(b"""DO $$ BEGIN EXECUTE (SELECT format('GRANT DELETE ON audit_logs TO %I', rolname)
                          FROM pg_roles WHERE rolname LIKE 'h%') ; END $$""")
    checks = check_health(
        held.engine, now=datetime.now(UTC), sealing_lag=sealing_lag, max_sealing_lag=timedelta(hours=1)
    )
    assert f"{SHOWN_ROLE} has DELETE on audit_logs" in "; ".join(each.message for each in checks)
