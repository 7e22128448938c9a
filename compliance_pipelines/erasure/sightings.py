"""What one look at a target saw: what goes, what a human decides about, and what could not be read.

Here: collecting it, and the refusal to call a person's data gone while something was not read. Not here: what a key
means.

Three things are told apart. What is a person's by its own words is an item. What is left, and is known to be theirs or
known not to say whose it is, is reported: the request can be closed, with a result that says so. What could not be read
may be anybody's: until somebody has looked at it, nobody can say that nothing of the person is left, and the request
stays open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.redis_scan import shown
from compliance_pipelines.erasure.targets import Findings, Reported

if TYPE_CHECKING:
    from compliance_pipelines.erasure.targets import Item

_MOST_NAMED: Final = 10


@dataclass
class Sightings:
    """What was seen of one person, by key: a scan may give a key twice.

    Attributes:
        items: what is theirs.
        reported: what a human decides about.
        unread: of `reported`, what could not be read although it may be theirs, and why.
        foreign: how many keys were not looked at, because GDPR_FOREIGN_KEYS says that they are other software's.
    """

    items: dict[bytes, Item] = field(default_factory=dict)
    reported: dict[bytes, Reported] = field(default_factory=dict)
    unread: dict[bytes, str] = field(default_factory=dict)
    foreign: int = 0

    def report(  # noqa: PLR0913 - each by its name
        self, data_type: str, key: bytes, why: str, *, is_theirs: bool, unread: bool = False, reference: str = ""
    ) -> None:
        """Leave a key to a human.

        Args:
            data_type: what kind of data.
            key: the key.
            why: why it is not deleted.
            is_theirs: whether it is the person's for certain.
            unread: whether it could not be read, and may be theirs.
            reference: how the human finds it, where the key alone is not enough.
        """
        self.reported[key] = Reported(data_type, reference or shown(key), why, is_theirs=is_theirs)
        if unread:
            self.unread[key] = why

    def findings(self, *notes: str) -> Findings:
        """The answer of a target."""
        said = list(notes)
        if self.foreign:
            said.append(
                f"{self.foreign} keys were not looked at: GDPR_FOREIGN_KEYS says that they are other software's"
            )
        return Findings(tuple(self.items.values()), tuple(self.reported.values()), tuple(said))

    def require_all_read(self) -> None:
        """Refuse to say that nothing is left while something was not read.

        Raises:
            TargetError: something that may be the person's could not be read; the message names it.
        """
        if not self.unread:
            return
        named = "; ".join(f"{shown(key)}: {why}" for key, why in sorted(self.unread.items())[:_MOST_NAMED])
        more = len(self.unread) - _MOST_NAMED
        raise TargetError(
            f"{len(self.unread)} keys could not be read, so that nobody can say that nothing of the person is left: "
            f"{named}{f'; and {more} more' if more > 0 else ''}. Repair or remove them, or name them in "
            "GDPR_FOREIGN_KEYS if they are other software's"
        )


def mentions(value: object, user_id: str) -> bool:
    """Whether a JSON value has the user id in it: as a text, a whole number, or a name of a member."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if user_id in each:
                return True
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
        elif (isinstance(each, str) and each == user_id) or (_is_whole(each) and str(each) == user_id):
            return True
    return False


def user_of(value: object) -> str | None:
    """The user that a JSON value names: a text that is not empty, or a whole number; None for anything else."""
    if isinstance(value, str):
        return value or None
    return str(value) if _is_whole(value) else None


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def names_in_key(key: bytes, user_id: bytes) -> bool:
    """Whether the name of a key has the user id between colons, after its first part."""
    return b":%b:" % user_id in b":%b:" % key.partition(b":")[2]
