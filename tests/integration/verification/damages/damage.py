"""What is done to a trail, and what verification must call it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger.checkpoint import SigningKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.verification.world import World

OTHER_KEY: Final = SigningKey.generate("somebody.example/else")


@dataclass(frozen=True)
class Damage:
    """What is done; the kinds of the findings that must follow, no more and no fewer; what a finding must say."""

    name: str
    do: Callable[[World], object]
    online: list[str]
    offline: list[str]
    says: str
    says_offline: str = ""


def all_of(*steps: Callable[[World], object]) -> Callable[[World], object]:
    """One after another."""

    def do(world: World) -> None:
        for step in steps:
            step(world)

    return do


def remove_part(day: date) -> Callable[[World], object]:
    return lambda world: world.remove(world.manifest_path(day), world.object_path(day))


def sql(statement: str, **parameters: object) -> Callable[[World], object]:
    return lambda world: world.execute(statement, **parameters)


def on(day: date) -> str:
    return f"\"timestamp\" >= '{day}' AND \"timestamp\" < '{day + timedelta(days=1)}'"


def forged_row(day: date, tx_id: int | str, like: date) -> Callable[[World], object]:
    """A copy of an entry under another id, on a day and in a transaction of the forger's choice."""
    shift = (day - like).days
    return sql(
        f"INSERT INTO audit_logs SELECT id + 1000000, 'forged', \"timestamp\" + interval '{shift} days', user_id,"
        f" action, resource_type, resource_id, result, metadata, created_at, {tx_id} FROM audit_logs WHERE {on(like)}"
        " ORDER BY id LIMIT 1"
    )


def first(day: date) -> str:
    return f"id = (SELECT min(id) FROM audit_logs WHERE {on(day)})"
