"""What a person wants to read after the main job, besides the figures of the audit trail (cli/summary.py).

Here: conversations and erasures, where the files are, what to type next. Not here: how anything was done.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from compliance_pipelines.cli.summary import human_bytes, show_for_copying
from compliance_pipelines.conversations import record as conversation_record
from compliance_pipelines.conversations.purge import Retention
from compliance_pipelines.conversations.store import open_store
from compliance_pipelines.erasure.record import all_cases

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from compliance_pipelines.erasure.record import Case
    from compliance_pipelines.services import Services


def show_people(console: Console, services: Services) -> None:
    """Print what became of conversations and of requests for erasure; nothing where there never were any."""
    with services.engine.connect() as connection:
        removed = conversation_record.set_totals(connection)
        cases = all_cases(connection)
    with open_store(services.settings) as store:
        left = len(Retention(services, store).survey().threads)
    if not (left or removed.threads_deleted or cases):
        return
    table = Table(show_header=False, min_width=72)
    table.add_column(style="bold")
    table.add_column()
    table.add_row(
        "conversations",
        f"{left:,} in Redis; retention removed {removed.threads_deleted:,} ({human_bytes(removed.bytes_freed)})",
    )
    for case in cases:
        table.add_row(f"erasure {case.request.id}", _erasure(case))
    console.print(table)
    for case in cases:
        if case.closure is not None:
            show_for_copying(console, f"deletion record of erasure {case.request.id}:", case.closure.log_entry_id)


def _erasure(case: Case) -> str:
    deleted = ", ".join(f"{count:,} {what}" for what, count in sorted(case.deleted().items())) or "nothing"
    return f"of {case.user_id}: {case.state.value}, {deleted} deleted"


def show_where_to_go(
    console: Console, state_dir: Path, cold_store: str, keyring: Path | None, sealed_entry: str | None
) -> None:
    """Print where the files are and what to type next.

    Args:
        console: where it is shown.
        state_dir: of the embedded stack.
        cold_store: its URI.
        keyring: what wraps the keys of archives; None where these are not encrypted.
        sealed_entry: id of an entry that can be proven; None where there is none.
    """
    shown = "LOG_ENTRY_ID" if sealed_entry is None else escape(shlex.quote(sealed_entry))
    lines = (
        ("[bold]Files[/]", ""),
        ("  archives, checkpoints", cold_store),
        ("  databases", f"{state_dir}/postgres, {state_dir}/redis"),
        ("  signing key", f"{state_dir}/ledger.key"),
        *([] if keyring is None else [("  keys of archives", str(keyring))]),
        ("[bold]Next[/]", ""),
        ("  make ui", "the same days in Dagster, http://127.0.0.1:3000"),
        ("  make run EVENTS=FILE.jsonl.gz", "your own entries"),
        ('  eval "$(.venv/bin/python -m compliance_pipelines.local_stack env)"; PATH=.venv/bin:$PATH', ""),
        ("  compliance status", "these figures again"),
        ("  compliance verify --all", "check everything against everything"),
        (f"  compliance prove {shown} -o proof.json", "the proof of one entry, by its log_entry_id"),
        ("  compliance erase list", "requests for erasure, their certificates with `compliance erase certificate`"),
    )
    for left, right in lines:
        console.print(f"{left:<33} {right}".rstrip(), highlight=False, soft_wrap=True)
