"""Which legal hold, if any, keeps a part in the cold store.

Here: the rule of docs/decisions/0061, what is remembered of parts that were read for it, and reading one. Not here:
which days a hold keeps in PostgreSQL (held_days.py), what the store itself is told (store_holds.py).

While the rows of a part are in PostgreSQL, its day decides, as for the purge. Afterwards the part decides for itself:
holds on people and conversations are looked for in the object. One that was not read yet is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.lookup import open_stored
from compliance_pipelines.audit_log.visibility import refuse_hidden_rows_of
from compliance_pipelines.holds.audit_days import hold_on_audit_day
from compliance_pipelines.postgres import tables
from compliance_pipelines.pseudonyms import subjects_from_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.holds import Hold, HoldSet
    from compliance_pipelines.services import Services

_USER: Final = "user_id"
_RESOURCE: Final = "resource_id"


@dataclass(frozen=True)
class PartHold:
    """The hold that keeps a part.

    Attributes:
        hold: the first that does.
        unread: whether it does so because nobody has looked yet whether the part has what it is on.
    """

    hold: Hold
    unread: bool = False

    def __str__(self) -> str:
        return f"{self.hold}{', as long as nobody has looked whether it touches the part' if self.unread else ''}"


class HeldParts:
    """Asks which hold keeps a part; what is answered is as of the transaction of the connection.

    Args:
        services: the opened services.
        connection: in the transaction in which the answer must last.
        holds: those in force, of the same transaction.

    Raises:
        ConfigurationError: entries call people by pseudonyms, and their key is missing.
        RowsHiddenError: what was looked at before may be hidden from the login.
    """

    def __init__(self, services: Services, connection: sqlalchemy.Connection, holds: HoldSet) -> None:
        refuse_hidden_rows_of(connection, tables.archive_hold_looks.name)
        self._connection = connection
        self._holds = holds
        self._subjects = subjects_from_settings(services.settings)
        self._days: dict[date, Hold | None] = {}
        asked = {"holds": [hold.id for hold in self._on_subjects()]}
        self._looks: dict[tuple[int, str], bool] = {
            (row.hold_id, row.object_key): row.touched for row in connection.execute(sql.HOLD_LOOKS, asked)
        }

    def _on_subjects(self) -> list[Hold]:
        return [hold for hold in self._holds.holds if hold.subject is not None]

    def on_day(self, day: date) -> Hold | None:
        """The hold on a day whose rows are in PostgreSQL."""
        if day not in self._days:
            self._days[day] = hold_on_audit_day(self._connection, self._holds, day, self._subjects)
        return self._days[day]

    def on_part(self, part: ArchivedPart) -> PartHold | None:
        """The hold on a recorded part; None also where it has expired, so that nothing can be held."""
        if part.expired_at is not None:
            return None
        if part.purged_at is None:
            hold = self.on_day(part.day)
            return None if hold is None else PartHold(hold)
        if (hold := self._holds.covers_day(part.day)) is not None:
            return PartHold(hold)
        looks = [(hold, self._looks.get((hold.id, part.object_key))) for hold in self._on_subjects()]
        seen = next((PartHold(hold) for hold, touched in looks if touched), None)
        return seen or next((PartHold(hold, unread=True) for hold, touched in looks if touched is None), None)

    def unread(self, part: ArchivedPart) -> list[Hold]:
        """The holds of which only reading the part tells whether they touch it; none where another one keeps it."""
        if part.expired_at is not None or part.purged_at is None:
            return []
        if self._holds.covers_day(part.day) is not None:
            return []
        looks = {hold.id: self._looks.get((hold.id, part.object_key)) for hold in self._on_subjects()}
        if any(looks.values()):
            return []
        return [hold for hold in self._on_subjects() if looks[hold.id] is None]


def look_into_part(services: Services, part: ArchivedPart, holds: Sequence[Hold]) -> None:
    """Read a part for what holds are on, and put on record what was seen.

    Raises:
        UnreadableParquetError: the object is not the one that was committed.
        ObjectStoreError: the store failed, or the object is missing.
        TransientError: it could not be copied.
    """
    subjects = subjects_from_settings(services.settings)
    names = {hold.id: subjects.names(hold.subject) for hold in holds if hold.subject is not None}
    wanted = pa.array(sorted({name for each in names.values() for name in each}), pa.string())
    found: set[str] = set()
    with open_stored(services, part) as reader:
        for batch in reader.batches(columns=[_USER, _RESOURCE]):
            for column in (_USER, _RESOURCE):
                values = batch.column(column)
                found.update(pc.unique(values.filter(pc.is_in(values, value_set=wanted))).to_pylist())
    with services.engine.begin() as connection:
        connection.execute(
            sql.INSERT_HOLD_LOOKS,
            [
                {"hold_id": hold_id, "object_key": part.object_key, "touched": not found.isdisjoint(each)}
                for hold_id, each in names.items()
            ],
        )
