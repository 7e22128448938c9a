"""What retention removes, leaves, counts and records, over real savers, Redis and PostgreSQL."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.conversations.errors import ConversationError, PlanTooLargeError
from compliance_pipelines.conversations.keys import KeyLayout
from compliance_pipelines.conversations.outcomes import Outcome
from compliance_pipelines.conversations.plan import Selection
from compliance_pipelines.conversations.pseudonyms import pseudonyms_of
from compliance_pipelines.conversations.record import history_of_thread
from compliance_pipelines.conversations.steps import PurgeStep
from tests.integration.conversations.savers import KINDS, config_of, saved_in
from tests.support.redis_commands import execute

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.conversations.steps import StepHook
    from tests.integration.conversations.conftest import World

HARD_IDS = (
    "plain",
    "PLAIN",
    "with:colons:in:it",
    "with:colons:in",
    "with,comma",
    "with*star",
    "with[bracket]",
    "with a space",
    "naïve-Ünïcödé-会話",
    'with"quote\\and{braces}',
    "__empty__",
    "user:7_9",
)


def at_step(wanted: PurgeStep, action: Callable[[], object]) -> StepHook:
    """A hook that acts once, after a step."""
    done: list[PurgeStep] = []

    def hook(step: PurgeStep, /) -> None:
        if step is wanted and not done:
            done.append(step)
            action()

    return hook


def rows(engine: sqlalchemy.Engine, statement: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(statement)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_due_goes_without_a_trace_and_what_is_not_stays_untouched(world: World, kind: str) -> None:
    writer = world.writer(kind)
    writer.ask("stays", at=world.ago(89))
    kept = {key: world.client.dump(key) for key in world.names()}
    writer.ask("goes-waiting", at=world.ago(91))
    writer.ask("goes-resumed", at=world.ago(200))
    writer.consent("goes-resumed", at=world.ago(120))
    writer.say("goes-chat", at=world.ago(95), count=3)
    planned = {key for key in world.names() if b"goes-" in key}

    report = world.retention().purge()

    assert {key: world.client.dump(key) for key in world.names()} == kept
    assert report.purged is not None
    assert report.purged.threads_deleted == 3
    assert report.purged.keys_deleted == len(planned)
    assert report.purged.threads_resurrected == report.purged.orphan_keys_left == 0
    assert report.purged.bytes_freed > 0
    assert report.purged.bytes_unknown == 0


def test_the_last_activity_over_all_namespaces_counts(world: World) -> None:
    writer = world.writer()
    writer.ask("thread", at=world.ago(200))
    writer.consent("thread", at=world.ago(10))

    assert not world.retention().plan().due


def test_ids_with_any_characters_go_alone_and_whole(world: World) -> None:
    writer = world.writer()
    for number, thread_id in enumerate(HARD_IDS):
        writer.say(thread_id, at=world.ago(100 if number % 2 else 10))

    report = world.retention().purge()

    survey = world.retention().survey()
    assert set(survey.threads) == set(HARD_IDS[::2])
    assert {key for thread in survey.threads.values() for key in thread.keys(survey.layout)} == world.names()
    assert {planned.thread.thread_id for planned in report.plan.due} == set(HARD_IDS[1::2])
    for thread_id in HARD_IDS[::2]:
        assert writer.saver().get_tuple(config_of(thread_id)) is not None, thread_id


def test_custom_prefixes_other_databases_and_missing_indexes_make_no_difference(world: World) -> None:
    """The index would live in database 0 only; enumeration does not need it."""
    writer = world.writer(checkpoint_prefix="agents:state", checkpoint_write_prefix="agents:state:pending")
    writer.ask("due", at=world.ago(100))
    writer.ask("young", at=world.ago(1))
    other = world.writer()
    other.say("of-another-application", at=world.ago(400))
    foreign = {key for key in world.names() if b"of-another-application" in key}
    for index in execute(world.client, "FT._LIST"):
        execute(world.client, "FT.DROPINDEX", index)

    world.retention(
        checkpoint_redis_prefix="agents:state", checkpoint_redis_write_prefix="agents:state:pending"
    ).purge()

    assert not world.names_of("due")
    assert world.names_of("young")
    documents = {key for key in foreign if not key.startswith(b"write_keys_zset:")}
    assert documents <= world.names()


def test_the_record_carries_hashes_counts_bytes_activity_and_an_audit_entry(world: World) -> None:
    writer = world.writer()
    writer.say("secret-thread", at=world.ago(130), user_id="secret-user")
    writer.say("secret-thread", at=world.ago(100), user_id="secret-user")
    world.client.set("conversation:metadata:secret-thread", json.dumps({"user_id": "secret-user"}))

    retention = world.retention()
    report = retention.purge()

    purged = report.purged
    assert purged is not None
    assert purged.key_counts["metadata"] == 1
    assert purged.key_counts["latest_pointer"] == 1
    assert purged.oldest_activity == world.ago(130)
    assert purged.newest_activity == world.ago(100)
    names = pseudonyms_of(retention.services)
    with world.services.engine.connect() as connection:
        (entry,) = history_of_thread(connection, names.thread("secret-thread"))
        assert entry.outcome is Outcome.DELETED
        everything = "".join(
            str(row)
            for table in ("purges", "purge_work", "purged_threads", "purged_sets")
            for row in connection.execute(text(f"SELECT * FROM conversation_{table}"))
        )
    assert "secret" not in everything
    assert names.users(["secret-user"])[0] in everything
    (logged,) = rows(world.services.engine, "SELECT * FROM audit_logs WHERE action = 'conversations.purge'")
    assert logged.log_entry_id == purged.log_entry_id
    assert logged.metadata["key_counts"] == purged.key_counts
    assert "secret" not in json.dumps(logged.metadata)


def test_the_record_cannot_be_changed_and_the_auditor_sees_no_work_list(
    world: World, superuser_engine: sqlalchemy.Engine
) -> None:
    world.writer().say("thread", at=world.ago(100))
    world.retention().purge()
    for table in ("purges", "purged_threads", "purged_sets"):
        for change in ("DELETE FROM", "TRUNCATE"):
            with pytest.raises(Exception, match=r"append-only|foreign key"), superuser_engine.begin() as connection:
                connection.execute(text(f"{change} conversation_{table}"))
    granted = rows(
        superuser_engine,
        "SELECT has_table_privilege('audit_reader', 'conversation_purge_work', 'SELECT'), "
        "has_table_privilege('audit_reader', 'conversation_purged_threads', 'SELECT')",
    )
    assert list(granted[0]) == [False, True]


def test_a_conversation_that_moved_after_the_plan_is_skipped_and_counted(world: World) -> None:
    writer = world.writer()
    for thread_id in ("moved", "quiet"):
        writer.say(thread_id, at=world.ago(100))
    hook = at_step(PurgeStep.FROZEN, lambda: writer.say("moved", at=world.now))

    report = world.retention(hook=hook).purge()

    assert report.purged is not None
    assert (report.purged.threads_moved, report.purged.threads_deleted) == (1, 1)
    saved = saved_in(writer.saver(), "moved")
    assert len(saved.checkpoint["channel_values"]["messages"]) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_somebody_who_resumes_after_the_plan_keeps_the_conversation(world: World, kind: str) -> None:
    """The consent is a pending write on the old checkpoint first: no new checkpoint tells of it yet."""
    writer = world.writer(kind)
    writer.ask("waiting", at=world.ago(100))
    hook = at_step(PurgeStep.FROZEN, lambda: writer.consent("waiting", at=world.now))

    report = world.retention(hook=hook).purge()

    assert report.purged is not None
    assert (report.purged.threads_moved, report.purged.threads_deleted) == (1, 0)


def test_a_pending_write_alone_counts_as_a_move(world: World) -> None:
    writer = world.writer()
    writer.say("thread", at=world.ago(100))

    def write() -> None:
        saver = writer.saver()
        saved = saved_in(saver, "thread")
        saver.put_writes(saved.config, [("messages", ["late"])], "a-task")

    report = world.retention(hook=at_step(PurgeStep.FROZEN, write)).purge()

    assert report.purged is not None
    assert report.purged.threads_moved == 1
    assert world.names_of("thread")


def test_a_late_writer_is_reported_as_resurrected_and_taken_next_time(world: World) -> None:
    writer = world.writer()
    writer.say("thread", at=world.ago(100))
    hook = at_step(PurgeStep.SET_ASIDE, lambda: writer.say("thread", at=world.ago(95)))

    first = world.retention(hook=hook).purge()
    second = world.retention().purge()

    assert first.purged is not None
    assert first.purged.threads_resurrected == 1
    assert second.purged is not None
    assert (second.purged.threads_deleted, second.purged.threads_resurrected) == (1, 0)
    assert not world.names()


def test_a_plan_above_the_number_or_the_share_stops_for_a_person(world: World) -> None:
    writer = world.writer("shallow")
    for number in range(4):
        writer.say(f"old-{number}", at=world.ago(100))
    writer.say("young", at=world.ago(1))
    before = world.names()
    for limit in (
        {"conversation_purge_max_threads": 3},
        {"conversation_purge_max_share": 0.5, "conversation_purge_share_from": 4},
    ):
        with pytest.raises(PlanTooLargeError, match="--confirm 4") as refused:
            world.retention(**limit).purge()
        assert (refused.value.planned, refused.value.seen) == (4, 5)
        assert world.names() == before
    with pytest.raises(PlanTooLargeError, match="more than the 3"):
        world.retention(conversation_purge_max_threads=3).purge(confirmed=3)

    report = world.retention(conversation_purge_max_threads=3).purge(confirmed=4)

    assert report.purged is not None
    assert report.purged.threads_deleted == 4


def test_a_dry_run_of_the_policy_file_removes_nothing(world: World, tmp_path: Path) -> None:
    policy = tmp_path / "retention_policies.yaml"
    policy.write_text("global:\n  dry_run: true\nretention_periods:\n  conversations:\n    active: 30\n")
    world.writer().say("thread", at=world.ago(31))
    before = world.names()

    report = world.retention(retention_policy_file=policy).purge()

    assert [planned.thread.thread_id for planned in report.plan.due] == ["thread"]
    assert report.purged is None
    assert world.names() == before


def test_a_purge_as_of_the_future_is_refused(world: World) -> None:
    with pytest.raises(ConversationError, match="future"):
        world.retention().purge(now=world.now + timedelta(days=1))


@pytest.mark.usefixtures("impatient")
def test_only_one_purge_works_at_a_time(world: World) -> None:
    world.writer().say("thread", at=world.ago(100))

    def second() -> None:
        with pytest.raises(TransientError, match="another process is at it"):
            world.retention().purge()

    world.retention(hook=at_step(PurgeStep.FROZEN, second)).purge()
    assert not world.names()


def test_a_selection_limits_the_purge_to_one_users_own_conversations_and_another_period(world: World) -> None:
    writer = world.writer()
    writer.say("of-one", at=world.ago(20), user_id="user:1")
    writer.say("of-two", at=world.ago(20), user_id="user:2")
    writer.say("of-both", at=world.ago(20), user_id="user:1")
    writer.say("of-both", at=world.ago(20), user_id="user:2")

    world.retention().purge(selection=Selection(user_id="user:1", older_than_days=10))

    assert set(world.retention().survey().threads) == {"of-two", "of-both"}


def test_more_keys_than_the_memory_allows_are_fetched_in_a_second_pass(world: World) -> None:
    writer = world.writer()
    for number in range(6):
        writer.say(f"thread-{number}", at=world.ago(100 if number < 4 else 1))
    retention = world.retention(survey_key_bytes=500)
    assert not retention.survey().has_keys

    report = retention.purge()

    assert report.purged is not None
    assert report.purged.threads_deleted == 4
    assert set(world.retention().survey().threads) == {"thread-4", "thread-5"}
    assert not [key for key in world.names() if any(f"thread-{number}".encode() in key for number in range(4))]


def test_what_is_written_to_between_the_passes_is_left_alone(world: World) -> None:
    writer = world.writer()
    for thread_id in ("moved", "answered", "quiet"):
        writer.say(thread_id, at=world.ago(100))
    retention = world.retention(survey_key_bytes=500)
    plan = retention.plan()
    assert not plan.survey.has_keys
    writer.say("moved", at=world.now)
    saver = writer.saver()
    saved = saved_in(saver, "answered")
    saver.put_writes(saved.config, [("messages", ["late"])], "a-task")

    frozen = retention._freeze_threads(plan.survey, [planned.thread for planned in plan.due])

    left = {planned.thread.thread_id for planned, each in zip(plan.due, frozen, strict=True) if each is None}
    assert left == {"moved", "answered"}


def test_a_thread_with_more_keys_than_one_step_takes_goes_whole(world: World) -> None:
    writer = world.writer()
    saver = writer.saver()
    writer.say("long", at=world.ago(100))
    saved = saved_in(saver, "long")
    for number in range(30):
        saver.put_writes(saved.config, [("messages", [str(index)]) for index in range(100)], f"task-{number}")
    count = len(world.names())
    assert count > 3000

    report = world.retention().purge()

    assert not world.names()
    assert report.purged is not None
    assert report.purged.keys_deleted == count


def test_keys_that_are_not_langgraphs_are_never_touched(world: World) -> None:
    world.client.set("checkpoint:a-string:of:somebody", "x")
    world.client.json().set("checkpoint:json:of:somebody", "$", {"some": "thing"})
    world.client.set("session:abc", "x")
    world.writer().say("thread", at=world.ago(100))

    report = world.retention().purge()

    assert world.names() == {b"checkpoint:a-string:of:somebody", b"checkpoint:json:of:somebody", b"session:abc"}
    assert report.plan.survey.unreadable == 2


def test_layouts_with_prefixes_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(Exception, match="two different texts"):
        KeyLayout("same", "same")
