"""Targets that misbehave, at the seam that the project owns: ErasureTarget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from compliance_pipelines.erasure.targets import Findings, Item, Reported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass
class Shelf:
    """A target in memory: things of one person, and what goes wrong with them.

    Attributes:
        things: what is there, by reference.
        fails: raised when it is asked to delete, as long as it is set.
        fails_after: how many things are deleted before that.
        calls: the methods that were called, in order.
        when_found: called after it has looked.
        when_deleting: called before it deletes.
    """

    name: str = "shelf"
    location: str = "memory"
    things: dict[str, Item] = field(default_factory=dict)
    fails: Exception | None = None
    fails_after: int = 0
    fails_to_look: Exception | None = None
    reported: tuple[Reported, ...] = ()
    calls: list[str] = field(default_factory=list)
    when_found: Callable[[], object] = lambda: None
    when_deleting: Callable[[], object] = lambda: None

    def put(self, *references: str, **values: object) -> Shelf:
        """Add things."""
        for reference in references:
            self.things[reference] = Item("things", reference, **values)  # type: ignore[arg-type]
        return self

    def find(self, _user_id: str) -> Findings:
        self.calls.append("find")
        if self.fails_to_look is not None:
            raise self.fails_to_look
        found = Findings(tuple(self.things.values()), self.reported)
        self.when_found()
        return found

    def delete(self, _user_id: str, items: Sequence[Item]) -> Mapping[str, int]:
        self.calls.append("delete")
        self.when_deleting()
        for number, item in enumerate(items):
            if self.fails is not None and number == self.fails_after:
                raise self.fails
            del self.things[item.reference]
        return {"things": len(items)}

    def rescan(self, _user_id: str) -> Findings:
        self.calls.append("rescan")
        if self.fails_to_look is not None:
            raise self.fails_to_look
        return Findings(tuple(self.things.values()), self.reported)


SHARED: Final = Reported("threads", "default", "several people share it")
