"""A plan that reads only what may be due says what a plan says that reads everything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.conversations.horizon import horizon_of
from compliance_pipelines.conversations.keys import EMPTY_NAMESPACE, KeyLayout
from compliance_pipelines.conversations.pacing import Pace
from compliance_pipelines.conversations.plan import Selection, make_plan
from compliance_pipelines.conversations.policy import RetentionPolicy
from compliance_pipelines.conversations.survey import OwnerRule, Survey, take_survey
from tests.integration.conversations.made import Maker, days_before, id_of

if TYPE_CHECKING:
    from datetime import datetime

    from compliance_pipelines.conversations.horizon import Horizon
    from compliance_pipelines.conversations.plan import Plan
    from tests.integration.conversations.conftest import World

_LAYOUT: Final = KeyLayout()
_ID: Final = "1f0b1c2d-3e4f-6a5b-8c7d-0123456789ab"
# Ids that are beginnings of each other, end like a namespace, or end like a checkpoint's id.
_THREADS: Final = ("a", "a:b", "a:b:c", "x,y z", "é", "a:__empty__", f"a:{_ID}", "user:1", "shallow")
_NAMESPACES: Final = (EMPTY_NAMESPACE, EMPTY_NAMESPACE, EMPTY_NAMESPACE, "sub|b:c", "b:c", "c", f"child:{_ID}")
_DAYS: Final = (0.0, 1.0, 6.9, 7.1, 29.0, 89.99, 90.01, 100.0, 364.0, 400.0, 9000.0, -0.5, -2.0, -4000.0)
_POLICIES: Final = (
    RetentionPolicy(),
    RetentionPolicy(max_age_days=365),
    RetentionPolicy(archived_days=30, deleted_days=7),
    RetentionPolicy(user_days={"bob": 7}, prefix_days={"a:": 1, "x": 30}),
    RetentionPolicy(max_age_days=30, exempt_users=frozenset({"bob"}), exempt_threads=frozenset({"a"})),
)


_NO_HOLDS: Final = SimpleNamespace(covers_thread=lambda *_: None, covers_activity=lambda *_: None)
_ALL: Final = Selection()
_AT_90_DAYS: Final = RetentionPolicy()


def _survey(
    world: World,
    horizon: Horizon | None,
    options: dict[str, Any] | None = None,
    layout: KeyLayout = _LAYOUT,
) -> Survey:
    return take_survey(world.store, layout, due_before=horizon, now=world.now, **(options or {}))


def _plan(world: World, policy: RetentionPolicy, survey: Survey, selection: Selection) -> Plan:
    return make_plan(survey, policy=policy, owner_rule=OwnerRule(), holds=_NO_HOLDS, now=world.now, selection=selection)


def _as_told(plan: Plan) -> dict[str, Any]:
    """What a plan says, in an order that both surveys have."""
    told = plan.as_json()
    told.pop("entangled")
    told.pop("ahead")
    told["seen"].pop("unreadable_keys")
    for each in ("held", "exempt"):
        told[each].sort(key=lambda kept: str(kept["thread_id"]))
    told["undated"].sort()
    layout = plan.survey.layout
    return {
        **told,
        "keys": {planned.thread.thread_id: set(planned.thread.keys(layout)) for planned in plan.due},
        "witnesses": {
            planned.thread.thread_id: {
                (head.name, head.latest_id, head.shallow_id, head.pointer, head.last_write_id)
                for head in planned.thread.heads
            }
            for planned in plan.due
        },
        "orphans": {(head.name, key) for head in plan.orphans for _, key in head.keys(layout)},
    }


def assert_same_plan(world: World, policy: RetentionPolicy = _AT_90_DAYS, layout: KeyLayout = _LAYOUT) -> Plan:
    """The plan of a survey with a horizon is that of a survey of everything; returns it."""
    full = _plan(world, policy, _survey(world, None, layout=layout), _ALL)
    quick = _plan(world, policy, _survey(world, horizon_of(policy, _ALL, world.now), layout=layout), _ALL)
    assert _as_told(quick) == _as_told(full)
    assert {thread.thread_id for thread in quick.entangled} <= {thread.thread_id for thread in full.entangled}
    assert quick.survey.ahead <= full.survey.ahead
    return quick


@dataclass(frozen=True)
class _Part:
    """Something of one namespace of one thread."""

    kind: str
    thread: str
    namespace: str
    days: float
    drift: float | None
    user: str | None


_PARTS: Final = st.builds(
    _Part,
    st.sampled_from(["full", "full", "full", "shallow", "write", "pointer", "blob", "note", "registry", "undated"]),
    st.sampled_from(_THREADS),
    st.sampled_from(_NAMESPACES),
    st.sampled_from(_DAYS),
    st.sampled_from([0.0, 0.0, 0.0, 200.0, -200.0, None]),
    st.sampled_from([None, "alice", "bob"]),
)


def _make(maker: Maker, now: datetime, number: int, part: _Part) -> None:
    moment = days_before(now, part.days)
    checkpoint_id = id_of(moment, number)
    ts = None if part.drift is None else days_before(moment, part.drift)
    place = (part.thread, part.namespace, checkpoint_id)
    if part.kind == "full":
        maker.checkpoint(*place, ts=ts, written=now if part.user else None, user_id=part.user)
        maker.write(*place, tail=f"{_ID}:{number}")
        maker.pointer(*place)
    elif part.kind == "undated":
        maker.checkpoint(part.thread, part.namespace, f"no-uuid-{number}", ts=None)
    elif part.kind == "shallow":
        maker.shallow(*place, ts=ts)
        maker.write(*place)
    elif part.kind == "write":
        maker.write(*place)
    elif part.kind == "pointer":
        maker.pointer(*place)
    elif part.kind == "registry":
        maker.client.zadd(f"write_keys_zset:{part.thread}:{part.namespace}:{checkpoint_id}", {b"gone": 0})
    elif part.kind == "blob":
        maker.blob(part.thread, part.namespace, "messages")
    else:
        state = {"status": "deleted"} if part.user == "alice" else {"archived": True} if part.user else {}
        maker.note(part.thread, created_at=moment.isoformat(), user_id=part.user, **state)


def _is_entangled(world: World) -> bool:
    return any(thread.entangled for thread in _survey(world, None).threads.values())


@given(parts=st.lists(_PARTS, max_size=12), number=st.integers(0, len(_POLICIES) - 1), older=st.sampled_from([None, 8]))
@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
def test_reading_what_may_be_due_plans_the_same_as_reading_everything(
    world: World, parts: list[_Part], number: int, older: int | None
) -> None:
    world.client.flushall()
    policy, selection = _POLICIES[number], Selection(older_than_days=older)
    for at, part in enumerate(parts):
        # How old a conversation is that goes on, the ids of its checkpoints tell; what contradicts them is not read.
        drift = None if policy.max_age_days is not None and part.drift else part.drift
        _make(Maker(world.client), world.now, at, replace(part, drift=drift))
    full = _plan(world, policy, _survey(world, None), selection)
    for options in ({}, {"key_bytes": 500}, {"remembered_heads": 1}, {"pace": Pace(0.9)}):
        quick = _plan(world, policy, _survey(world, horizon_of(policy, selection, world.now), options), selection)
        mine, all_of_it = _as_told(quick), _as_told(full)
        if "remembered_heads" in options:
            # Not every thread is counted any more.
            assert mine["seen"].pop("threads") <= all_of_it["seen"].pop("threads")
        if "key_bytes" in options:
            # Names are not kept: neither survey needs to have them.
            mine.pop("keys"), all_of_it.pop("keys")
        if _is_entangled(world):
            # Of threads that share names one may be out of sight; none of them is due in any case.
            for each in ("undated", "seen"):
                mine.pop(each), all_of_it.pop(each)
        assert (options, mine) == (options, all_of_it)
        assert {each.thread_id for each in quick.entangled} <= {each.thread_id for each in full.entangled}
        assert quick.survey.ahead <= full.survey.ahead


def _calls(world: World, command: str) -> int:
    statistics: dict[str, Any] = world.client.info("commandstats")
    return int(statistics.get(f"cmdstat_{command}", {"calls": 0})["calls"])


def test_of_a_namespace_that_is_not_due_one_document_is_read(world: World) -> None:
    maker = Maker(world.client)
    for number in range(100):
        for step in range(10):
            moment = days_before(world.now, 100 if number == 7 else 1)
            checkpoint_id = id_of(moment, number * 100 + step)
            maker.checkpoint(f"thread-{number}", EMPTY_NAMESPACE, checkpoint_id, ts=moment)
            maker.write(f"thread-{number}", EMPTY_NAMESPACE, checkpoint_id)
    before = _calls(world, "json.get")
    plan = assert_none_but(world, "thread-7")
    assert _calls(world, "json.get") - before == 99 + 20
    assert plan.survey.threads_seen == 100
    assert plan.survey.not_due == 99


def assert_none_but(world: World, *due: str) -> Plan:
    """The plan of a survey with a horizon, in which exactly these are due."""
    plan = _plan(world, _AT_90_DAYS, _survey(world, horizon_of(_AT_90_DAYS, _ALL, world.now)), _ALL)
    assert [planned.thread.thread_id for planned in plan.due] == list(due)
    return plan


def test_a_note_ahead_of_the_present_counts_where_nothing_else_bears_a_time(world: World) -> None:
    maker = Maker(world.client)
    # Whether a note or a checkpoint comes first in a scan, chance decides.
    for number in range(20):
        maker.checkpoint(f"of-now-{number}", "sub", id_of(world.now, number), ts=world.now)
        maker.note(f"of-now-{number}", created_at=days_before(world.now, -3).isoformat())
    maker.note("alone", created_at=days_before(world.now, -3).isoformat())
    plan = assert_same_plan(world)
    assert plan.survey.ahead == {"alone"}


@pytest.mark.parametrize("namespace", ["sub", "child:1f0b1c2d-3e4f-6a5b-8c7d-0123456789ab", "a|b:c"])
def test_a_young_namespace_keeps_its_whole_thread(world: World, namespace: str) -> None:
    maker = Maker(world.client)
    for thread_id, days in (("kept", 1), ("due", 120)):
        old, other = id_of(days_before(world.now, 120)), id_of(days_before(world.now, days))
        maker.checkpoint(thread_id, EMPTY_NAMESPACE, old, ts=days_before(world.now, 120))
        maker.pointer(thread_id, EMPTY_NAMESPACE, old)
        maker.checkpoint(thread_id, namespace, other, ts=days_before(world.now, days))
        maker.write(thread_id, namespace, other)
    plan = assert_same_plan(world)
    assert [planned.thread.thread_id for planned in plan.due] == ["due"]


@pytest.mark.parametrize("wrong_kind", ["checkpoint", "write", "registry"])
def test_a_name_alone_keeps_nothing(world: World, wrong_kind: str) -> None:
    """Under the name of a thread that is due lies something young that says that it is another's, or nobody's."""
    maker = Maker(world.client)
    old, young = id_of(days_before(world.now, 120)), id_of(days_before(world.now, 1))
    maker.checkpoint("due", EMPTY_NAMESPACE, old, ts=days_before(world.now, 120))
    name = f"checkpoint:due:{EMPTY_NAMESPACE}:{young}".encode()
    if wrong_kind == "checkpoint":
        maker.checkpoint("someone", EMPTY_NAMESPACE, young, ts=days_before(world.now, 1), name=name)
    elif wrong_kind == "write":
        world.client.set(name.replace(b"checkpoint:", b"checkpoint_write:") + b":task:0", "no document")
    else:
        world.client.zadd(f"write_keys_zset:due:{EMPTY_NAMESPACE}:{young}", {b"gone": 0})
    plan = assert_same_plan(world)
    assert [planned.thread.thread_id for planned in plan.due] == ["due"]


def test_old_documents_count_even_if_their_names_look_young(world: World) -> None:
    """What a copy or an import gave new ids, its `ts` still dates."""
    maker = Maker(world.client)
    maker.checkpoint("imported", EMPTY_NAMESPACE, id_of(world.now), ts=days_before(world.now, 100))
    plan = assert_same_plan(world)
    assert [planned.thread.thread_id for planned in plan.due] == ["imported"]


def test_where_names_are_shared_the_other_threads_namespaces_do_not_go(world: World) -> None:
    """`a` has namespace `b:c` in common with thread `a:b`, which is young; the root of `a` looks due by itself."""
    maker = Maker(world.client)
    old, young = id_of(days_before(world.now, 120)), id_of(days_before(world.now, 1))
    maker.checkpoint("a", EMPTY_NAMESPACE, old, ts=days_before(world.now, 120))
    maker.checkpoint("a", "b:c", old, ts=days_before(world.now, 120))
    maker.checkpoint("a:b", "c", young, ts=days_before(world.now, 1))
    plan = assert_same_plan(world)
    assert not plan.due
    assert [thread.thread_id for thread in plan.entangled] == ["a"]


@pytest.mark.parametrize(
    ("of_id", "of_ts", "of_writing", "is_due"),
    [
        (-2000, -2000, 100, True),
        (-2000, -2000, 10, False),
        (-2000, 100, 100, True),
        (-2000, 10, None, False),
        (-2000, None, 100, True),
        (100, -2000, 100, True),
        (10, -2000, 10, False),
        (-2000, -2000, None, None),
        (-2000, -2000, -2000, None),
        (100, -2000, None, None),
    ],
)
def test_what_lies_years_ahead_is_reported_and_judged_by_when_it_was_written(
    world: World, of_id: float, of_ts: float | None, of_writing: float | None, is_due: bool | None
) -> None:
    def moment(days: float | None) -> datetime | None:
        return None if days is None else days_before(world.now, days)

    maker = Maker(world.client)
    checkpoint_id = id_of(days_before(world.now, of_id))
    maker.checkpoint("ahead", EMPTY_NAMESPACE, checkpoint_id, ts=moment(of_ts), written=moment(of_writing))
    maker.pointer("ahead", EMPTY_NAMESPACE, checkpoint_id)

    plan = assert_same_plan(world)

    assert plan.survey.ahead == {"ahead"}
    assert [planned.thread.thread_id for planned in plan.due] == (["ahead"] if is_due else [])
    assert [thread.thread_id for thread in plan.undated] == (["ahead"] if is_due is None else [])


def test_a_checkpoint_ahead_in_a_thread_that_is_not_due_is_reported_too(world: World) -> None:
    maker = Maker(world.client)
    maker.checkpoint("young", EMPTY_NAMESPACE, id_of(days_before(world.now, 1)), ts=days_before(world.now, 1))
    maker.checkpoint("young", EMPTY_NAMESPACE, id_of(days_before(world.now, -900)), ts=days_before(world.now, 1))
    assert assert_none_but(world).survey.ahead == {"young"}


@pytest.mark.parametrize(
    "layout",
    [KeyLayout("app:checkpoint", "app:writes"), KeyLayout("app", "app:w"), KeyLayout("checkpoint:x", "checkpoint")],
)
def test_prefixes_of_its_own_make_no_difference(world: World, layout: KeyLayout) -> None:
    maker = Maker(world.client, layout)
    for thread_id, days in (("w:young", 1), ("w:due", 120), ("young", 1), ("due", 120)):
        checkpoint_id = id_of(days_before(world.now, days))
        maker.checkpoint(thread_id, EMPTY_NAMESPACE, checkpoint_id, ts=days_before(world.now, days))
        maker.write(thread_id, EMPTY_NAMESPACE, checkpoint_id)
        maker.pointer(thread_id, EMPTY_NAMESPACE, checkpoint_id)
    plan = assert_same_plan(world, layout=layout)
    assert {planned.thread.thread_id for planned in plan.due} >= {"due"}


def test_names_that_are_no_text_and_keys_of_others_are_passed_over_and_counted(world: World) -> None:
    maker = Maker(world.client)
    maker.checkpoint("due", EMPTY_NAMESPACE, id_of(days_before(world.now, 120)), ts=days_before(world.now, 120))
    world.client.set(b"checkpoint:\xff\xfe", "x")
    world.client.set(b"checkpoint_write:\xff:\xfe:1", "x")
    world.client.set(b"checkpoint_latest:\xff\xfe", b"\xff")
    world.client.hset("checkpoint:jobs:1", "a", "b")
    world.client.json().set("checkpoint:jobs:2", "$", {"thread_id": "t"})
    for number in range(5):
        world.client.set(f"checkpoints-of-somebody:{number}", "x")
    plan = assert_same_plan(world)
    assert plan.survey.unreadable == 5
    assert plan.survey.foreign.counts == {b"checkpoint:": 3, b"checkpoint_write:": 1, b"checkpoint_latest:": 1}
    assert b"checkpoint:jobs:1" in plan.survey.foreign.names
    assert not plan.orphans


def test_threads_that_are_asked_for_are_read_whole_whether_or_not_they_are_due(world: World) -> None:
    maker = Maker(world.client)
    for thread_id, days in (("young", 1), ("young:2", 1), ("due", 120), ("other", 2)):
        for step in range(3):
            checkpoint_id = id_of(days_before(world.now, days), step)
            maker.checkpoint(thread_id, EMPTY_NAMESPACE, checkpoint_id, ts=days_before(world.now, days))
            maker.write(thread_id, EMPTY_NAMESPACE, checkpoint_id)
    maker.note("young", user_id="alice")
    full = _survey(world, None)

    of_threads = _survey(world, None, {"threads": ["young", "gone"]})
    of_both = _survey(world, horizon_of(_AT_90_DAYS, _ALL, world.now), {"threads": ["young", "gone"]})

    assert set(of_threads.threads) == {"young"}
    assert set(of_both.threads) == {"young", "due"}
    assert of_both.threads_seen == 4
    for survey in (of_threads, of_both):
        assert set(survey.threads["young"].keys(survey.layout)) == set(full.threads["young"].keys(full.layout))
        assert survey.threads["young"].note == full.threads["young"].note


def test_a_connection_that_is_cut_is_an_error_and_no_short_survey(world: World) -> None:
    maker = Maker(world.client)
    for number in range(2_500):
        maker.checkpoint(f"t{number}", EMPTY_NAMESPACE, id_of(world.now, number), ts=world.now)
    horizon = horizon_of(_AT_90_DAYS, _ALL, world.now)
    for at_pace in (Pace(), Pace(0.5)):
        with pytest.raises(TransientError, match="the survey of conversations had to stop"):
            _survey(world, horizon, {"pace": at_pace, "progress": lambda _: _cut_others(world)})
        assert _survey(world, horizon).threads_seen == 2_500
        assert len(_survey(world, None).threads) == 2_500


def _cut_others(world: World) -> None:
    world.client.client_kill_filter(_type="normal", skipme=True)
