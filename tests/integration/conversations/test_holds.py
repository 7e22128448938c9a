"""Legal holds stop retention, when planning and again at the moment of deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from compliance_pipelines.conversations.steps import PurgeStep

if TYPE_CHECKING:
    from datetime import date

    from tests.integration.conversations.conftest import World


def add_hold(world: World, scope: str, subject: str | None = None, day: date | None = None) -> None:
    with world.services.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO legal_holds (scope, subject, first_day, last_day, reason, author) "
                "VALUES (:scope, :subject, :day, :day, 'lawsuit', 'counsel')"
            ),
            {"scope": scope, "subject": subject, "day": day},
        )


@pytest.mark.parametrize(
    ("scope", "subject"), [("user", "user:1"), ("thread", "held"), ("days", None), ("everything", None)]
)
def test_what_is_held_stays_and_is_reported(world: World, scope: str, subject: str | None) -> None:
    writer = world.writer()
    writer.say("held", at=world.ago(100), user_id="user:1")
    writer.say("free", at=world.ago(150), user_id="user:2")
    add_hold(world, scope, subject, world.ago(100).date() if scope == "days" else None)

    report = world.retention().purge()

    held = {kept.thread.thread_id for kept in report.plan.held}
    assert held == ({"held", "free"} if scope == "everything" else {"held"})
    assert all("lawsuit" in kept.reason for kept in report.plan.held)
    assert set(world.retention().survey().threads) == held


def test_a_hold_that_comes_after_the_plan_is_seen_at_the_deletion(world: World) -> None:
    writer = world.writer()
    writer.say("held", at=world.ago(100))
    writer.say("free", at=world.ago(100))

    def hold(step: PurgeStep, /) -> None:
        if step is PurgeStep.FROZEN:
            add_hold(world, "thread", "held")

    report = world.retention(hook=hold).purge()

    assert report.purged is not None
    assert (report.purged.threads_held, report.purged.threads_deleted) == (1, 1)
    assert world.names_of("held")
    assert not world.names_of("free")


def test_a_conversation_of_nobody_known_may_be_the_held_persons_and_stays(world: World) -> None:
    world.writer().say("whose", at=world.ago(100), user_id=None)
    add_hold(world, "user", "user:1")

    report = world.retention().purge()

    assert [kept.thread.thread_id for kept in report.plan.held] == ["whose"]
    assert world.names_of("whose")


def test_orphans_that_may_belong_to_a_held_thread_stay(world: World) -> None:
    world.writer().say("held:thread", at=world.ago(100))
    for key in world.names():
        if key.startswith((b"checkpoint:", b"checkpoint_write:")):
            world.client.delete(key)
    before = world.names()
    add_hold(world, "thread", "held:thread")

    report = world.retention().purge()

    assert report.plan.held_orphans == 1
    assert world.names() == before
