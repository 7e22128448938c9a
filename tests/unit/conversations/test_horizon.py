"""What the horizon lets pass, the policy does not call due."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.conversations.documents import ConversationNote, microseconds
from compliance_pipelines.conversations.horizon import horizon_of
from compliance_pipelines.conversations.plan import Selection
from compliance_pipelines.conversations.policy import RetentionPolicy
from tests.unit.conversations.facts import DAY, START, thread

_DAYS = st.one_of(st.none(), st.integers(1, 90))


@given(
    policy=st.builds(
        RetentionPolicy,
        idle_days=st.just(90),
        archived_days=_DAYS,
        deleted_days=_DAYS,
        max_age_days=st.one_of(st.none(), st.integers(1, 400)),
        user_days=st.dictionaries(st.sampled_from(["alice", "bob"]), st.integers(1, 90)),
        prefix_days=st.dictionaries(st.sampled_from(["t", "thr", "x"]), st.integers(1, 90)),
    ),
    age=st.integers(0, 200),
    begun=st.integers(0, 500),
    archived=st.booleans(),
    users=st.frozensets(st.sampled_from(["alice", "bob", "carol"])),
)
def test_what_is_behind_no_bound_is_not_due(
    policy: RetentionPolicy, age: int, begun: int, archived: bool, users: frozenset[str]
) -> None:
    now = START + timedelta(days=600)
    note = ConversationNote(archived=archived, deleted=not archived)
    facts = thread(newest=600 - age, oldest=600 - max(age, begun), users=users, note=note)
    horizon = horizon_of(policy, Selection(), now)
    assert facts.newest is not None
    assert facts.oldest is not None
    due = policy.due(facts, users)
    assert due is not None
    if facts.newest >= horizon.idle_of(facts.thread_id) and (horizon.age is None or facts.oldest >= horizon.age):
        assert due.at >= microseconds(now)


def test_a_period_that_was_asked_for_is_the_only_bound() -> None:
    policy = RetentionPolicy(max_age_days=10, prefix_days={"t": 1})
    horizon = horizon_of(policy, Selection(older_than_days=30), START)
    assert (horizon.idle, horizon.age, horizon.idle_of("t")) == (
        microseconds(START) - 30 * DAY,
        None,
        microseconds(START) - 30 * DAY,
    )
