"""`compliance search` and `compliance query`: hot and cold as one table.

Here: arguments, what is said on standard error, tables. Not here: anything that is read; the other forms of a result
(search/output.py).
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, ParamSpec, Self, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from compliance_pipelines.base.counting import counted
from compliance_pipelines.base.interruption import doing
from compliance_pipelines.base.printable import printable
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.cli.summary import human_bytes
from compliance_pipelines.encryption.key_encryption import KeyEncryptionKeys
from compliance_pipelines.ledger.public_key import read_verifier_key
from compliance_pipelines.postgres.errors import passing_errors_as_transient
from compliance_pipelines.pseudonyms import Subjects, subjects_from_settings
from compliance_pipelines.search.copies import searched_copy
from compliance_pipelines.search.engine import opened_engine, refuse_wrong_query
from compliance_pipelines.search.errors import SearchError
from compliance_pipelines.search.output import (
    as_text,
    new_file,
    rows_of,
    write_csv,
    write_entries_as_json_lines,
    write_json_lines,
    write_parquet,
)
from compliance_pipelines.search.period import Period
from compliance_pipelines.search.recording import Question, SearchRecord
from compliance_pipelines.search.searching import searched
from compliance_pipelines.search_filters import Wanted
from compliance_pipelines.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa

    from compliance_pipelines.audit_log.entry import JsonValue
    from compliance_pipelines.search.plan import Plan
    from compliance_pipelines.search.searching import Found

_P = ParamSpec("_P")
_R = TypeVar("_R")

_NEEDS: Final = (Need.DATABASE, Need.COLD_STORE, Need.PUBLIC_KEY, Need.SUBJECT_NAMES)
_LIMIT: Final = 100
# What is small is put on record before any of it is shown.
_ROWS_HELD: Final = 10_000
_TABLE_ROWS: Final = 1_000
_CELL: Final = 60
_CENT: Final = 0.01
_SHOWN: Final = ("timestamp", "user_id", "action", "resource_type", "resource_id", "result", "source", "log_entry_id")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


class _Bound(click.ParamType[date | datetime]):
    """A UTC day, or a time with its offset."""

    name = "day or time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date | datetime:  # noqa: ANN401 - click's
        """What the text says."""
        if isinstance(value, date):
            return value
        try:
            if _DAY.fullmatch(value):
                return date.fromisoformat(value)
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither a day (YYYY-MM-DD, UTC) nor a time (2026-01-31T12:00:00Z)", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} does not say of which time zone it is: end it with Z, or with +02:00", param, ctx)
        return moment


@dataclass(frozen=True)
class _Asked:
    """The options that both commands have."""

    first: date | datetime | None
    last: date | datetime | None
    users: tuple[str, ...]
    actions: tuple[str, ...]
    resource_ids: tuple[str, ...]
    resource_types: tuple[str, ...]
    dry_run: bool
    partial: bool
    copy: Path | None
    public_key: str | None
    keyring: Path | None
    kms_keys: tuple[str, ...]
    period: Period = field(init=False)

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        try:
            object.__setattr__(self, "period", Period.of(self.first, self.last))
        except SearchError as error:
            raise click.UsageError(str(error)) from error
        _refuse_no_text(*self.users, *self.actions, *self.resource_ids, *self.resource_types)
        if self.copy is None and (self.public_key or self.keyring or self.kms_keys):
            raise click.UsageError("--public-key, --keyring and --kms-key belong to --copy")
        if self.copy is not None and self.public_key is None:
            raise click.UsageError("--copy needs --public-key: whose manifests count cannot be told without it")

    def question(self, text: str | None = None) -> Question:
        """What goes on record."""
        return Question(
            self.period, self.users, self.actions, self.resource_types, self.resource_ids, text, self.dry_run
        )

    def wanted(self, subjects: Subjects) -> Wanted:
        """Which entries, people under every name that they may stand under."""
        return Wanted(
            frozenset(chain.from_iterable(subjects.names(user) for user in self.users)),
            frozenset(self.actions),
            frozenset(self.resource_types),
            frozenset(self.resource_ids),
        )


def _refuse_no_text(*given: str) -> None:
    """Refuse what is no text in the terminal's encoding.

    Raises:
        click.UsageError: something is.
    """
    for each in given:
        try:
            each.encode()
        except UnicodeEncodeError as error:
            raise click.UsageError(f"{printable(each)!r} is no text in UTF-8") from error


def _options(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """The options that both commands have."""
    options = (
        click.option(
            "--from",
            "first",
            type=_Bound(),
            metavar="DAY|TIME",
            help="From this UTC day or time on (2026-01-31, 2026-01-31T12:00:00Z). Default: the first entry.",
        ),
        click.option(
            "--to",
            "last",
            type=_Bound(),
            metavar="DAY|TIME",
            help="To the end of this UTC day, or up to this time. Default: the last entry.",
        ),
        click.option("--user", "users", metavar="ID", multiple=True, help="Of this user; given again: or of that one."),
        click.option("--action", "actions", metavar="NAME", multiple=True, help="With this action; likewise."),
        click.option("--resource", "resource_ids", metavar="ID", multiple=True, help="About this resource; likewise."),
        click.option(
            "--resource-type", "resource_types", metavar="TYPE", multiple=True, help="Of this type; likewise."
        ),
        click.option("--dry-run", is_flag=True, help="Say what would be read and what it costs, and read nothing."),
        click.option("--partial", is_flag=True, help="Leave out archives that cannot be read; exit status 1 then."),
        click.option(
            "--copy",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Search a copy of the bucket, without database or settings; nothing is put on record.",
        ),
        click.option("--public-key", metavar="KEY", help="With --copy: the ledger's public key, or a file with it."),
        click.option(
            "--keyring",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="With --copy: the keyring that unwraps the keys of encrypted archives.",
        ),
        click.option(
            "--kms-key", "kms_keys", metavar="KEY", multiple=True, help="With --copy: a key in AWS or GCP KMS."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@dataclass
class _Search:
    """One search, with what is on record of it."""

    found: Found
    record: SearchRecord | None
    memory_mb: int

    def end(self, rows: int, **further: JsonValue) -> None:
        """Put on record what came of it."""
        if self.record is not None:
            found = self.found
            self.record.end(
                rows=rows,
                parts=len(found.plan.parts),
                bytes=found.object_bytes,
                hot_rows=found.hot_rows,
                partial=bool(found.missing),
                **further,
            )

    def tell_missing(self) -> None:
        """Name what is missing.

        Raises:
            SystemExit: something is.
        """
        for reason in self.found.left_out:
            click.echo(f"missing: {printable(reason)}", err=True)
        if self.found.missing:
            click.echo(f"the result is partial: {counted(len(self.found.missing), 'gap')}, named above", err=True)
            raise SystemExit(1)


@contextmanager
def _searching(asked: _Asked, text: str | None, *, as_json: bool) -> Iterator[_Search | None]:
    """The search, planned, said and read; None where it ends with the plan."""
    with doing("searching"), _Fetching(dry_run=asked.dry_run, as_json=as_json) as fetching:
        if asked.copy is not None and asked.public_key is not None:
            click.echo("a copy is searched: nothing is put on record", err=True)
            keys = KeyEncryptionKeys(asked.keyring, None, asked.kms_keys)
            with searched_copy(
                asked.copy,
                read_verifier_key(asked.public_key),
                keys,
                asked.period,
                asked.wanted(Subjects()),
                on_plan=fetching.begin,
                partial=asked.partial,
                fetched=fetching.advance,
            ) as found:
                fetching.end()
                yield (
                    None
                    if found is None
                    else _Search(found, None, int(Settings.model_fields["audit_search_memory_mb"].default))
                )
            return
        with opened() as services, passing_errors_as_transient("the search", services.engine):
            record = SearchRecord(services, asked.question(text))
            record.begin()
            with searched(
                services,
                asked.period,
                asked.wanted(subjects_from_settings(services.settings)),
                on_plan=fetching.begin,
                partial=asked.partial,
                fetched=fetching.advance,
            ) as found:
                fetching.end()
                memory = services.settings.audit_search_memory_mb
                yield None if found is None else _Search(found, record, memory)


class _Fetching:
    """Says what is going to be read, and shows how far it came."""

    def __init__(self, *, dry_run: bool, as_json: bool) -> None:
        self._dry_run = dry_run
        self._as_json = as_json
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        self._bar = Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal, redirect_stdout=False
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self, plan: Plan) -> bool:
        """Say the plan; whether to go on."""
        _tell_plan(plan)
        if self._dry_run:
            if self._as_json:
                click.echo(json.dumps(plan.to_json()))
            return False
        self._task = self._bar.add_task("archives", total=plan.object_bytes)
        self._bar.start()
        return True

    def advance(self, count: int) -> None:
        """So many more bytes have arrived."""
        if self._task is not None:
            self._bar.advance(self._task, count)

    def end(self) -> None:
        """Take the bar away."""
        self._bar.stop()


def _tell_plan(plan: Plan) -> None:
    """Say on standard error what will be read, what it costs, and what there is to be said of it."""
    read = f"{len(plan.parts):,} of {counted(plan.stored_parts, 'part')} in the cold store"
    if plan.parts:
        read += (
            f", {human_bytes(plan.object_bytes)} of {human_bytes(plan.stored_bytes)} in about {plan.requests:,} "
            f"requests, {_price(plan)}"
        )
    click.echo(
        f"reads {read}; {counted(len(plan.hot_days), 'day')} with {counted(plan.hot_rows, 'row')} in PostgreSQL",
        err=True,
    )
    for note in plan.notes:
        click.echo(f"note: {printable(note)}", err=True)
    for gap in plan.gaps:
        click.echo(f"missing: {printable(gap)}", err=True)


def _price(plan: Plan) -> str:
    price = plan.price
    if not price.total:
        return "at no price"
    transfer = f" and {_dollars(price.transfer)} if they leave the provider's region" if price.transfer else ""
    return f"{_dollars(price.requests)} for the requests{transfer}"


def _dollars(amount: float) -> str:
    return f"${amount:.2f}" if amount >= _CENT else f"${amount:.6f}"


@click.command("search")
@_options
@click.option(
    "--limit", type=click.IntRange(min=0), default=_LIMIT, show_default=True, help="Entries that are shown; 0: all."
)
@click.option("--oldest-first", is_flag=True, help="In the order of time. Default: the newest first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an entry, one on a line.")
@needs(*_NEEDS, given_by={"copy": _NEEDS}, on_record=True, at_once=False)
def search(*, limit: int, oldest_first: bool, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - those of both commands
    """Find entries wherever they are, in PostgreSQL or in the archives, each once.

    Only archives that can hold what is wanted are read; which, how many bytes and at what price is said before. That
    somebody searched, for what, and how much they found is put on record. Exit status 1 where the result is partial.
    """
    asked = _Asked(**options)
    with _searching(asked, None, as_json=as_json) as run:
        if run is None:
            return
        with opened_engine(run.found.entries, run.memory_mb) as engine:
            total = engine.count()
            shown = total if limit == 0 else min(limit, total)
            run.end(shown, matching=total)
            with engine.entries(limit=limit or None, oldest_first=oldest_first) as rows:
                if as_json:
                    write_entries_as_json_lines(rows, sys.stdout.write)
                else:
                    _print_entries(rows)
        click.echo(
            counted(total, "entry", "entries") + (f", of which {shown:,} are shown (--limit)" if shown < total else ""),
            err=True,
        )
        run.tell_missing()


def _print_entries(batches: Iterable[pa.RecordBatch]) -> None:
    """A table; widths are those of the first batch."""
    widths: list[int] | None = None
    for batch in batches:
        widths = _print_rows(_SHOWN, (_shown_values(row) for row in rows_of(batch.select(list(_SHOWN)))), widths)


def _shown_values(row: tuple[Any, ...]) -> list[str]:
    values = [as_text(value) for value in row]
    source = _SHOWN.index("source")
    values[source] = values[source].rpartition("/")[2]
    return values


def _print_rows(names: Sequence[str], rows: Iterable[Sequence[str]], widths: list[int] | None) -> list[int]:
    cells = [[printable(value, _CELL) for value in row] for row in rows]
    if widths is None:
        widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
        cells.insert(0, list(names))
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return widths


@click.command("query")
@click.argument("sql", metavar="SQL")
@_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", "parquet"]),
    default="table",
    show_default=True,
    help=f"table: at most {_TABLE_ROWS:,} rows; json: one object a line.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A new file for the result, which its owner alone can read; default: standard output.",
)
@needs(*_NEEDS, given_by={"copy": _NEEDS}, on_record=True, at_once=False)
def query(sql: str, *, form: str, output: Path | None, **options: Any) -> None:  # noqa: ANN401 - those of both commands
    """Run one SELECT over the table audit_log: all entries in PostgreSQL and in the archives, each once.

    --user and the like narrow the table before the SELECT sees it, so that fewer archives are read. The SELECT can
    reach nothing else. That it was run, its text, and how many rows it gave is put on record. Exit status 1 where the
    result is partial.
    """
    asked = _Asked(**options)
    _refuse_no_text(sql)
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise click.UsageError("--format parquet is nothing for a terminal: give -o FILE, or redirect it")
    if form == "table" and output is not None:
        raise click.UsageError("-o is for json, csv and parquet")
    refuse_wrong_query(sql)
    with (
        nullcontext() if output is None else new_file(output) as file,
        _searching(asked, sql, as_json=form == "json") as run,
    ):
        if run is None:
            return
        with opened_engine(run.found.entries, run.memory_mb) as engine, engine.query(sql) as rows:
            if form == "table":
                _print_table(run, rows)
            elif file is None:
                _stream(run, rows, form)
            else:
                _write(run, rows, form, *file)
        if output is not None:
            click.echo(f"{output} was written", err=True)
        run.tell_missing()


def _print_table(run: _Search, rows: pa.RecordBatchReader) -> None:
    """The first rows as a table, and whether there are more."""
    cells: list[list[str]] = []
    for batch in rows:
        cells += [[as_text(value) for value in row] for row in rows_of(batch.slice(0, _TABLE_ROWS + 1 - len(cells)))]
        if len(cells) > _TABLE_ROWS:
            break
    shown = cells[:_TABLE_ROWS]
    run.end(len(shown))
    _print_rows(rows.schema.names, shown, None)
    more = f"; there are more, which --format csv and json show: the table has {_TABLE_ROWS:,} at most"
    click.echo(f"{counted(len(shown), 'row')}{more if len(cells) > _TABLE_ROWS else ''}", err=True)


def _stream(run: _Search, rows: pa.RecordBatchReader, form: str) -> None:
    """Rows on standard output: what is small after it is on record, what is large as it comes."""
    batches = _Counted(rows)
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if batches.rows > _ROWS_HELD:
            break
    else:
        run.end(batches.rows)
    complete = batches.over
    try:
        if form == "parquet":
            write_parquet(rows.schema, chain(held, batches), sys.stdout.buffer)
        else:
            write = {"json": write_json_lines, "csv": write_csv}[form]
            write(rows.schema, chain(held, batches), sys.stdout.write)
        sys.stdout.flush()
    except Exception:
        if not complete:
            run.end(batches.rows, interrupted=True)
        raise
    if not complete:
        run.end(batches.rows)
    click.echo(counted(batches.rows, "row"), err=True)


class _Counted:
    """Batches, with the number of rows that were taken."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = iter(batches)
        self.rows = 0
        self.over = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.rows += batch.num_rows
            yield batch
        self.over = True


def _write(run: _Search, rows: pa.RecordBatchReader, form: str, file: BinaryIO, publish: Callable[[], None]) -> None:
    """A file, which appears under its name after it is on record."""
    batches = _Counted(rows)
    if form == "parquet":
        write_parquet(rows.schema, batches, file)
    else:
        write = {"json": write_json_lines, "csv": write_csv}[form]
        write(rows.schema, batches, lambda text: file.write(text.encode()))
    run.end(batches.rows)
    publish()
    click.echo(counted(batches.rows, "row"), err=True)


COMMANDS: Final[list[click.Command]] = [search, query]
