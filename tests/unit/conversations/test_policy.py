"""When a conversation is due: two clocks, overrides, exemptions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.conversations.documents import ConversationNote, microseconds
from compliance_pipelines.conversations.errors import PolicyError
from compliance_pipelines.conversations.policy import Clock, RetentionPolicy
from tests.unit.conversations.facts import DAY, START, thread


def due_day(policy: RetentionPolicy, *owners: str, **facts: object) -> int:
    """After how many days since START a conversation is due."""
    due = policy.due(thread(**facts), frozenset(owners))  # type: ignore[arg-type]
    assert due is not None
    return (due.at - microseconds(START)) // DAY


def test_the_idle_clock_starts_at_the_last_activity() -> None:
    assert due_day(RetentionPolicy(idle_days=90), newest=10, oldest=0) == 100


def test_the_hard_age_clock_starts_at_the_first_activity_and_the_earlier_clock_wins() -> None:
    policy = RetentionPolicy(idle_days=90, max_age_days=365)
    assert due_day(policy, newest=10) == 100
    assert due_day(policy, newest=360) == 365
    due = policy.due(thread(newest=360), frozenset())
    assert due is not None
    assert due.clock is Clock.AGE


def test_of_all_periods_that_apply_the_strictest_wins() -> None:
    policy = RetentionPolicy(idle_days=90, user_days={"user:1": 30, "user:2": 60}, prefix_days={"tmp:": 7, "t": 50})
    assert due_day(policy) == 50
    assert due_day(policy, thread_id="x") == 90
    assert due_day(policy, "user:1", thread_id="x") == 30
    assert due_day(policy, "user:2", "user:1", thread_id="x") == 30
    assert due_day(policy, "user:1", thread_id="tmp:x") == 7
    assert due_day(policy, "USER:1", thread_id="TMP:x") == 90


def test_archived_and_deleted_conversations_have_their_own_periods() -> None:
    policy = RetentionPolicy(idle_days=365, archived_days=90, deleted_days=7)
    assert due_day(policy) == 365
    assert due_day(policy, note=ConversationNote(archived=True)) == 90
    assert due_day(policy, note=ConversationNote(archived=True, deleted=True)) == 7


def test_a_longer_override_is_refused_because_it_would_promise_a_stay_that_it_does_not_give() -> None:
    with pytest.raises(PolicyError, match="exempt user 'user:1'"):
        RetentionPolicy(idle_days=90, user_days={"user:1": 91})
    with pytest.raises(PolicyError, match="prefix 'a' must be at least one day"):
        RetentionPolicy(prefix_days={"a": 0})


def test_what_has_no_time_is_never_due() -> None:
    assert RetentionPolicy().due(thread(newest=None, oldest=None), frozenset()) is None


def test_exemptions_hold_for_threads_users_and_tags_and_one_exempt_user_is_enough() -> None:
    policy = RetentionPolicy(
        exempt_users=frozenset({"user:1"}), exempt_threads=frozenset({"kept"}), protected_tags=frozenset({"legal_hold"})
    )
    assert policy.exemption(thread("other"), frozenset({"user:2"})) is None
    assert policy.exemption(thread("kept"), frozenset()) is not None
    assert policy.exemption(thread("other"), frozenset({"user:1", "user:2"})) == "user user:1 is exempt"
    tagged = thread("other", note=ConversationNote(tags=("legal_hold",)))
    assert policy.exemption(tagged, frozenset()) == "it is tagged legal_hold"


@given(
    periods=st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(1, 90), max_size=3),
    prefixes=st.dictionaries(st.sampled_from(["t", "th", "x"]), st.integers(1, 90), max_size=3),
    owners=st.frozensets(st.sampled_from(["a", "b", "c", "d"])),
)
def test_no_override_ever_lets_a_conversation_stay_longer(
    periods: dict[str, int], prefixes: dict[str, int], owners: frozenset[str]
) -> None:
    days = due_day(RetentionPolicy(idle_days=90, user_days=periods, prefix_days=prefixes), *owners)
    applicable = [90, *(periods[user] for user in owners & periods.keys())]
    applicable += [period for prefix, period in prefixes.items() if "thread".startswith(prefix)]
    assert days == min(applicable)
