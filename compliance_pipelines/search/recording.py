"""Searches on record: one entry before anything is read, one when it is known what was found, both under one id.

Here: what the entries say. Not here: the function by which an auditor's login appends (audit_log/readings.py).

Who asks is the login of the database; what they ask is there in full, so that it can be told later what they may have
seen. People are named as GDPR_SUBJECT_PSEUDONYMS says, in filters and wherever their ids stand in the SQL; what else of
a person stands in SQL is not recognised. It is in the metadata, which is private: it is blinded with the entry.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive.self_audit import audit_log
from compliance_pipelines.audit_log.readings import Reading, record_reading
from compliance_pipelines.audit_log.system_entries import system_entry
from compliance_pipelines.postgres.replica import in_recovery
from compliance_pipelines.pseudonyms import Subjects, subjects_from_settings
from compliance_pipelines.search import sql
from compliance_pipelines.search.errors import SearchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compliance_pipelines.audit_log.entry import JsonValue
    from compliance_pipelines.search.period import Period
    from compliance_pipelines.services import Services

_RESOURCE_TYPE: Final = "audit_search"
_MOST_NAMES: Final = 200


@dataclass(frozen=True)
class Question:
    """What is asked, as a person asked it.

    Attributes:
        text: the SQL; None where there is none.
        dry_run: whether only the plan is shown.
    """

    period: Period
    users: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    resource_types: tuple[str, ...] = ()
    resource_ids: tuple[str, ...] = ()
    text: str | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Refuse more names than an entry takes.

        Raises:
            SearchError: there are more.
        """
        if len(self.users) + len(self.actions) + len(self.resource_types) + len(self.resource_ids) > _MOST_NAMES:
            raise SearchError(f"a search is for at most {_MOST_NAMES} names, so that all of them can be put on record")

    @property
    def began(self) -> Reading:
        """The reading that begins."""
        return Reading.SEARCH if self.text is None else Reading.QUERY

    @property
    def ended(self) -> Reading:
        """The reading that has come to its end."""
        return Reading.SEARCHED if self.text is None else Reading.QUERIED

    def particulars(self, subjects: Subjects) -> dict[str, JsonValue]:
        """What an entry says of it."""
        named: dict[str, Sequence[str]] = {
            "users": [subjects.name(user) for user in self.users],
            "actions": self.actions,
            "resource_types": self.resource_types,
            # A resource may be named after a person.
            "resource_ids": [subjects.scrub(resource, *self.users) for resource in self.resource_ids],
        }
        said: dict[str, JsonValue] = {**self.period.to_json()}
        said |= {name: list(values) for name, values in named.items() if values}
        if self.text is not None:
            said["sql"] = subjects.scrub(self.text, *self.users)
        if self.dry_run:
            said["dry_run"] = True
        return said


class SearchRecord:
    """What one search puts on record.

    Args:
        services: the opened services.
        question: what is asked.
    """

    def __init__(self, services: Services, question: Question) -> None:
        self._services = services
        self._question = question
        self._id = str(uuid.uuid4())

    def begin(self) -> None:
        """Put on record that it begins, and what is asked; it is durable when this returns.

        On a read-only replica nothing can be put on record.

        Raises:
            ReadingNotRecordedError: that is not possible; nothing may be read.
            AppendInterruptedError: the database was lost or busy.
            ConfigurationError: pseudonyms are asked for without a key.
        """
        question = self._question
        self._put(question.began, "started", question.particulars(subjects_from_settings(self._services.settings)))

    def end(self, **found: JsonValue) -> None:
        """Put on record what came of it.

        Args:
            found: how many rows, parts and bytes, and whether that is all.

        Raises: as :meth:`begin`.
        """
        self._put(self._question.ended, "success", found)

    def _put(self, reading: Reading, result: str, particulars: dict[str, JsonValue]) -> None:
        services = self._services
        if record_reading(services.engine, reading, self._id, **particulars):
            return
        with services.engine.connect() as connection:
            if in_recovery(connection):
                return
            login = connection.execute(sql.SESSION_LOGIN).scalar_one()
        entry = system_entry(
            services.settings.audit_log_actor,
            action=reading.value,
            resource_type=_RESOURCE_TYPE,
            resource_id=self._id,
            result=result,
            metadata={**particulars, "login": login},
        )
        audit_log(services).append(entry)
