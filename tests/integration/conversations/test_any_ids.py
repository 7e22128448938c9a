"""For all ids: what is due goes whole, and nothing else goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance_pipelines.conversations.keys import EMPTY_ID
from tests.integration.conversations.conftest import bind

if TYPE_CHECKING:
    from tests.integration.conversations.conftest import World

# Few letters, so that ids are often prefixes of each other and look like parts of names.
IDS = st.one_of(
    st.text("aA:,", min_size=1, max_size=5),
    st.text("*[]{}?\\ \"'|.-_é会", min_size=1, max_size=6),
    st.sampled_from(
        ["__empty__", "a:__empty__", "__empty__:a", EMPTY_ID, "shallow", "a:shallow", "user:1_2", "%00", "a\tb"]
    ),
)


@given(st.dictionaries(IDS, st.tuples(st.booleans(), st.sampled_from(["full", "shallow"])), min_size=2, max_size=5))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_exactly_what_is_due_goes(world: World, conversations: dict[str, tuple[bool, str]]) -> None:
    world.client.flushall()
    bind(world.services, world.store)
    for thread_id, (is_due, kind) in conversations.items():
        world.writer(kind).say(thread_id, at=world.ago(100 if is_due else 10))
    before = len(world.names())

    report = world.retention().purge()

    survey = world.retention().survey()
    kept = {thread_id for thread_id, (is_due, _) in conversations.items() if not is_due}
    assert set(survey.threads) == kept
    assert {key for thread in survey.threads.values() for key in thread.keys(survey.layout)} == world.names()
    assert report.purged is not None
    assert report.purged.threads_deleted == len(conversations) - len(kept)
    assert report.purged.keys_deleted == before - len(world.names())
    assert report.purged.orphan_keys_left == 0
