"""What holds a person's data, seen alike whatever it is: the protocol of a target, and where targets come from.

Here: what a target is asked and what it answers; targets that other packages bring along. Not here: any target of our
own (sessions.py, threads.py, memories.py, tables.py), and which of them are configured (configured.py).

A package adds a target with an entry point of the group `compliance_pipelines.erasure_targets`: a callable that takes
the settings and returns the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from compliance_pipelines.erasure.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date
    from uuid import UUID

    from compliance_pipelines.settings import Settings

ENTRY_POINT_GROUP: Final = "compliance_pipelines.erasure_targets"


@dataclass(frozen=True)
class Item:
    """Something that belongs to the person alone, and that is deleted.

    Attributes:
        data_type: what kind of data, as the deletion record names it: `sessions`.
        reference: what the target knows it by; nobody else reads it.
        count: how many things this is.
        thread_id: of a conversation; None for anything else.
        first_day: first UTC day on which it was active; None where nobody knows, so that any hold on days covers it.
        last_day: last UTC day on which it was active; None where nobody knows.
    """

    data_type: str
    reference: str
    count: int = 1
    thread_id: str | None = None
    first_day: date | None = None
    last_day: date | None = None


@dataclass(frozen=True)
class Reported:
    """Something that concerns the person and is not theirs alone, or may be theirs: a human decides about it.

    Attributes:
        data_type: what kind of data.
        reference: enough for the human to find it.
        why: why it is not deleted.
        is_theirs: whether it holds data of the person for certain.
        count: how many things this is; the person is told it.
    """

    data_type: str
    reference: str
    why: str
    is_theirs: bool = True
    count: int = 1


@dataclass(frozen=True)
class Findings:
    """What a target holds of a person.

    Attributes:
        items: what is deleted.
        reported: what is left to a human.
        notes: what else the record should say about the search, such as why nothing can be there.
    """

    items: tuple[Item, ...] = ()
    reported: tuple[Reported, ...] = ()
    notes: tuple[str, ...] = ()


class ErasureTarget(Protocol):
    """A place that holds data of people.

    All methods may raise anything: the request then stays open and the target is asked again later. What is asked twice
    must do no harm.
    """

    @property
    def name(self) -> str:
        """Unique among the targets, and the same for ever: it is on record."""

    @property
    def location(self) -> str:
        """Where the data is, for the certificate; without secrets."""

    def find(self, user_id: str) -> Findings:
        """Everything that belongs to exactly this user id, compared as it is, case included."""

    def delete(self, user_id: str, items: Sequence[Item]) -> Mapping[str, int]:
        """Delete these items, which `find` gave, and nothing else.

        Returns:
            How many things of each data type were deleted.
        """

    def rescan(self, user_id: str) -> Findings:
        """What is left, looked for anew after everything was deleted; a target without a cache just finds again."""


@runtime_checkable
class SeveralIds(Protocol):
    """A target that is asked for all ids of a person at once.

    Without these methods it is asked for one after the other. Who has them can tell what belongs to two ids of one
    person from what belongs to two people, and looks once.
    """

    def find_any(self, user_ids: frozenset[str]) -> Findings:
        """Everything that belongs to one or several of these ids, and to nobody else."""

    def delete_any(self, user_ids: frozenset[str], items: Sequence[Item]) -> Mapping[str, int]:
        """Delete these items, which `find_any` gave, and nothing else; how many of each data type."""

    def rescan_any(self, user_ids: frozenset[str]) -> Findings:
        """What is left, looked for anew."""


@runtime_checkable
class ListsIds(Protocol):
    """A target that can say whose data it holds.

    Without this method it is asked for some ids that look like the person's, when near matches are looked for.
    """

    def user_ids(self) -> Iterable[str]:
        """Every id under which there is data, in any order; an id may come several times."""


@dataclass(frozen=True)
class RequestFacts:
    """What a target may need to know of the request that it is asked for.

    Attributes:
        request_id: its number; 0 for a preview without a request.
        pseudonyms: of each id of the person; empty where no key is configured.
        earlier: the numbers of other requests that name one of the ids.
    """

    request_id: int
    pseudonyms: Mapping[str, str]
    earlier: tuple[int, ...] = ()


@runtime_checkable
class RequestBound(Protocol):
    """A target whose work depends on the request, as a value does that has the request's number in it."""

    def for_request(self, facts: RequestFacts) -> ErasureTarget:
        """The target as it works for this request; called before each attempt, and it asks nobody."""


@runtime_checkable
class EnvironmentBound(Protocol):
    """A target that can tell whether what it leads to is of the database's environment."""

    def require_environment(self, environment: UUID | None) -> None:
        """Let only a place of this environment pass: in another one there is nothing to find, and much to destroy.

        Args:
            environment: the id that the database has; None where nothing was bound to it yet.
        """


def installed_targets(settings: Settings) -> list[ErasureTarget]:
    """The targets that installed packages bring along, by the name of their entry point.

    Raises:
        TargetError: one cannot be loaded. An erasure that leaves a target out is not one.
    """
    targets = []
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda each: each.name):
        try:
            targets.append(point.load()(settings))
        except Exception as error:  # a package of somebody else can fail with anything
            raise TargetError(
                f"the erasure target {point.name} ({point.value}) cannot be used: {type(error).__name__}: {error}; "
                "repair or uninstall its package"
            ) from error
    return targets


def check_names(targets: Sequence[ErasureTarget]) -> None:
    """Make sure that the record can tell targets apart.

    Raises:
        TargetError: two have the same name.
    """
    names = [target.name for target in targets]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TargetError(f"two erasure targets are called {twice[0]}: give one of them another name")
