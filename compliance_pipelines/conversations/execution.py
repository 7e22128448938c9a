"""Carrying out one frozen plan: set aside, look again, remove or put back, with the outcome of each conversation.

Here: the order of these steps for the plan's conversations, and how each of them ends. Not here: how conversations are
set aside (setting_aside.py; cluster_removal.py), the plan and the record of the whole (purge.py, closing.py).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from compliance_pipelines.conversations import record
from compliance_pipelines.conversations.cluster_removal import ClusterRemover
from compliance_pipelines.conversations.continued import Returned, Sequel, sequels
from compliance_pipelines.conversations.outcomes import Outcome, Removal
from compliance_pipelines.conversations.plan import find_hold, hold_on_name
from compliance_pipelines.conversations.setting_aside import Aside, Ending
from compliance_pipelines.conversations.steps import PurgeStep
from compliance_pipelines.conversations.watching import Watch
from compliance_pipelines.holds import lock_holds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import sqlalchemy

    from compliance_pipelines.conversations.keys import KeyLayout
    from compliance_pipelines.conversations.pacing import Pace
    from compliance_pipelines.conversations.plan import Holds
    from compliance_pipelines.conversations.record import OpenPurge, WorkItem
    from compliance_pipelines.conversations.steps import StepHook
    from compliance_pipelines.conversations.store import CheckpointStore
    from compliance_pipelines.conversations.survey import Survey
    from compliance_pipelines.services import Services

_BATCH: Final = 500


@dataclass
class Execution:
    """One frozen plan, carried out or given up.

    Attributes:
        services: settings and database.
        store: the Redis.
        layout: the layout of the plan.
        purge: the plan.
        require_environment: raises where the Redis is not of the database's environment.
        look_again: a survey of what may be due, and of these threads.
        look_at: a survey of these threads alone, with the names of all keys.
        hook: called after each step.
        sleep: waits between setting aside and removing, in seconds.
        pace: how Redis is shared with others.
    """

    services: Services
    store: CheckpointStore
    layout: KeyLayout
    purge: OpenPurge
    require_environment: Callable[[sqlalchemy.Connection], None]
    look_again: Callable[[set[str]], Survey]
    look_at: Callable[[set[str]], Survey]
    hook: StepHook
    sleep: Callable[[float], None]
    pace: Pace

    def __post_init__(self) -> None:
        receipt = f"compliance_pipelines:purge:{self.purge.id}".encode()
        self._aside = Aside(self.store, self.layout, receipt, self.pace)

    def carry_out(self) -> Survey:
        """Do what has no outcome yet, and record the outcomes.

        Returns:
            What was there before the last step.

        Raises:
            TransientError: Redis or PostgreSQL does not answer; whoever comes next goes on.
            ConversationError: Redis refuses.
        """
        if self.store.is_cluster:
            self._remove_from_cluster()
            with self.services.engine.connect() as connection:
                removed = set(record.deleted_threads(connection, self.purge.id))
            survey = self.look_again(removed)
            self.hook(PurgeStep.VERIFIED)
            return survey
        with Watch(self._aside, self.store, self.layout) as watch:
            touched = self._set_aside(watch)
            if touched:
                self.sleep(self.services.settings.conversation_purge_pause_seconds)
        survey = self.look_again({thread_id for thread_id in touched if thread_id is not None})
        self.hook(PurgeStep.VERIFIED)
        if touched:
            self._remove_what_is_aside(survey)
        return survey

    def give_up(self, *, is_lost: bool) -> None:
        """Put back what is set aside, and record that; a removal that was begun stays one.

        Args:
            is_lost: the Redis is another one: what was set aside there stays so.

        Raises:
            TransientError: Redis or PostgreSQL does not answer.
            ConversationError: Redis refuses.
        """
        for items in self._work(asks=not is_lost):
            with self.services.engine.begin() as connection:
                given_up = Removal(Outcome.ABANDONED)
                ended: dict[int, Removal] = {}
                if not is_lost and not self.store.is_cluster:
                    ended = dict(self._end(items, dict.fromkeys((item.number for item in items), Ending.PUT_BACK)))
                outcomes = [
                    (item, removal if (removal := ended.get(item.number, given_up)).counts else given_up)
                    for item in items
                ]
                record.insert_outcomes(connection, self.purge.id, outcomes)

    def forget_receipt(self) -> None:
        """Remove what Redis notes of the plan, once it is recorded.

        Raises:
            TransientError: Redis does not answer.
        """
        self._aside.forget_receipt()

    def _work(self, *, asks: bool = True) -> Iterator[list[WorkItem]]:
        """The items without an outcome, in batches; before each the Redis is asked whose it is."""
        after = -1
        while True:
            with self.services.engine.connect() as connection:
                if asks:
                    self.require_environment(connection)
                items = record.next_work(connection, self.purge.id, after, _BATCH)
            if not items:
                return
            after = items[-1].number
            yield items

    def _set_aside(self, watch: Watch) -> set[str | None]:
        """Set aside what is still as planned; returns the ids of threads that are, None for orphans."""
        touched: set[str | None] = set()
        with self.services.engine.connect() as connection:
            attempted = record.last_attempt(connection, self.purge.id)
        for items in self._work():
            with self.services.engine.begin() as connection:
                record.note_attempt(connection, self.purge.id, items[-1].number)
            self.hook(PurgeStep.ATTEMPT_NOTED)
            with self._held_apart(items) as (connection, going, held):
                taken = self._aside.take([(item.number, item.frozen) for item in going])
                watch.add(
                    [(item.number, item.frozen) for item, removal in zip(going, taken, strict=True) if removal is None]
                )
                self.hook(PurgeStep.SET_ASIDE)
                outcomes = [(item, removal) for item, removal in zip(going, taken, strict=True) if removal is not None]
                # What an interrupted purge may have set aside before the hold came is put back with the rest.
                outcomes += [(item, Removal(Outcome.HELD)) for item in held if item.number > attempted]
                ended = {item.number for item, _ in outcomes}
                touched.update(item.thread_id for item in items if item.number not in ended)
                record.insert_outcomes(connection, self.purge.id, outcomes)
        return touched

    def _remove_what_is_aside(self, survey: Survey) -> None:
        """Remove what is set aside, or put it back where somebody went on with it, or a hold came."""
        for items in self._work():
            endings = self._endings(items, survey)
            with self._held_apart(items) as (connection, going, held):
                ended = dict(self._end(going, endings))
                ended.update(self._end(held, dict.fromkeys((item.number for item in held), Ending.PUT_BACK)))
                self.hook(PurgeStep.REMOVED)
                numbers_held = {item.number for item in held}
                outcomes = [
                    # A removal that was begun before the hold came stays one.
                    (item, Removal(Outcome.HELD) if item.number in numbers_held and not removal.counts else removal)
                    for item in items
                    for removal in (ended[item.number],)
                ]
                record.insert_outcomes(connection, self.purge.id, outcomes)
            self.hook(PurgeStep.OUTCOMES_RECORDED)

    def _end(self, items: Sequence[WorkItem], endings: Mapping[int, Ending]) -> Iterator[tuple[int, Removal]]:
        """End what is set aside; what somebody wrote to at the last moment is looked at once more."""
        remaining = list(items)
        decided = dict(endings)
        while remaining:
            removals = self._aside.end([(item.number, item.frozen, decided[item.number]) for item in remaining])
            again = []
            for item, removal in zip(remaining, removals, strict=True):
                if removal is None:
                    again.append(item)
                else:
                    yield item.number, removal
            if again:
                decided = self._judge(again, self._look(again), when_nothing=Ending.PUT_BACK)
            remaining = again

    def _endings(self, items: Sequence[WorkItem], survey: Survey) -> dict[int, Ending]:
        """How each item ends, by what is found under its name now."""
        found = [item for item in items if item.thread_id is not None and item.thread_id in survey.threads]
        if found and not survey.has_keys:
            survey = self._look(found)
        endings = dict.fromkeys((item.number for item in items), Ending.REMOVE)
        endings.update(self._judge(found, survey, when_nothing=Ending.REMOVE))
        # A survey sees a conversation that is just beginning in parts; one that goes on is the same at a second look.
        unsure = [item for item in found if endings[item.number] is Ending.PUT_BACK]
        if unsure:
            endings.update(self._judge(unsure, self._look(unsure), when_nothing=Ending.REMOVE))
        return endings

    def _look(self, items: Sequence[WorkItem]) -> Survey:
        return self.look_at({item.thread_id for item in items if item.thread_id is not None})

    def _judge(self, items: Sequence[WorkItem], survey: Survey, *, when_nothing: Ending) -> dict[int, Ending]:
        """How items end for what a survey found of them."""
        found = []
        for item in items:
            thread = None if item.thread_id is None else survey.threads.get(item.thread_id)
            names = {} if thread is None else thread.keys(self.layout)
            # Its own blobs, and a note that is not its own, were left where they are.
            left = item.frozen.left_in_place(self.layout, item.thread_id) if names else frozenset()
            new = {key: kind for key, kind in names.items() if key not in left}
            if new:
                found.append((item, Returned(item.frozen, new)))
        endings = dict.fromkeys((item.number for item in items), when_nothing)
        judged = sequels(self.store, self.layout, [returned for _, returned in found])
        for (item, _), sequel in zip(found, judged, strict=True):
            # What cannot be told is put back: then nothing is lost.
            endings[item.number] = Ending.REMOVE_WHATEVER_CAME if sequel is Sequel.BEGUN_ANEW else Ending.PUT_BACK
        return endings

    def _remove_from_cluster(self) -> None:
        """Remove what is still as planned, and record what became of it."""
        remover = ClusterRemover(self.store, self.layout)
        with self.services.engine.connect() as connection:
            attempted = record.last_attempt(connection, self.purge.id)
        for items in self._work():
            begun = [(item.number, item.frozen) for item in items if item.number <= attempted]
            recovered = remover.recover(begun) if begun else {}
            with self.services.engine.begin() as connection:
                record.note_attempt(connection, self.purge.id, items[-1].number)
            self.hook(PurgeStep.ATTEMPT_NOTED)
            rest = [item for item in items if item.number not in recovered]
            with self._held_apart(rest) as (connection, going, held):
                removals = remover.remove([item.frozen for item in going])
                self.hook(PurgeStep.REMOVED)
                record.insert_outcomes(
                    connection,
                    self.purge.id,
                    [
                        *((item, recovered[item.number]) for item in items if item.number in recovered),
                        *zip(going, removals, strict=True),
                        *((item, Removal(Outcome.HELD)) for item in held),
                    ],
                )
            self.hook(PurgeStep.OUTCOMES_RECORDED)

    @contextmanager
    def _held_apart(
        self, items: Sequence[WorkItem]
    ) -> Iterator[tuple[sqlalchemy.Connection, list[WorkItem], list[WorkItem]]]:
        """A transaction in which no new hold can come into force; the items without a hold, and those with one."""
        with self.services.engine.begin() as connection:
            holds = lock_holds(connection)
            held = [item for item in items if _is_held(item, holds)]
            numbers = {item.number for item in held}
            yield connection, [item for item in items if item.number not in numbers], held


def _is_held(item: WorkItem, holds: Holds) -> bool:
    if item.thread_id is not None:
        return find_hold(holds, item.thread_id, item.users, item.oldest, item.newest) is not None
    return item.name is not None and hold_on_name(item.name, holds) is not None
