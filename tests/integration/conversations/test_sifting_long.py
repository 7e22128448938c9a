"""A plan that reads only what may be due says what a plan says that reads everything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance_pipelines.conversations.documents import microseconds
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


class _NoHolds:
    def covers_thread(self, thread_id: str, user_id: str | None) -> None:
        return None

    def covers_activity(self, first_day: object, last_day: object) -> None:
        return None


def _survey(world: World, horizon: Horizon | None, **options: Any) -> Survey:
    return take_survey(world.store, options.pop("layout", KeyLayout()), due_before=horizon, now=world.now, **options)


def _plan(world: World, policy: RetentionPolicy, survey: Survey, selection: Selection) -> Plan:
    return make_plan(
        survey, policy=policy, owner_rule=OwnerRule(), holds=_NoHolds(), now=world.now, selection=selection
    )


def _as_told(plan: Plan) -> dict[str, Any]:
    """What a plan says, in an order that both surveys have."""
    told = plan.as_json()
    told.pop("entangled")
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
                (head.name, head.latest_id, head.shallow_id, head.pointer, head.last_write_id, head.last_writes)
                for head in planned.thread.heads
            }
            for planned in plan.due
        },
        "orphans": {(head.name, key) for head in plan.orphans for _, key in head.keys(layout)},
    }


def assert_same_plan(world: World, policy: RetentionPolicy, selection: Selection = Selection(), **options: Any) -> Plan:
    """The plan of a survey with a horizon is that of a survey of everything; returns it."""
    layout = options.get("layout", KeyLayout())
    full = _plan(world, policy, _survey(world, None, layout=layout), selection)
    quick = _plan(world, policy, _survey(world, horizon_of(policy, selection, world.now), **options), selection)
    assert _as_told(quick) == _as_told(full)
    assert {thread.thread_id for thread in quick.entangled} <= {thread.thread_id for thread in full.entangled}
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
    max_examples=4000, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
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
        quick = _plan(world, policy, _survey(world, horizon_of(policy, selection, world.now), **options), selection)
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
