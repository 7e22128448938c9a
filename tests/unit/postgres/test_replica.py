"""The words for what a replica says about itself: unknown is unknown, and nothing is claimed that no fact says."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.postgres.replica import ReplicaState, refusal

_MOMENT = datetime(2026, 7, 1, 12, 30, tzinfo=UTC)
_BYTES = st.none() | st.integers(min_value=0, max_value=2**62)
_STATES = st.builds(
    ReplicaState,
    last_change=st.none() | st.just(_MOMENT),
    unreplayed_bytes=_BYTES,
    paused=st.none() | st.booleans(),
    connected=st.none() | st.booleans(),
    unreceived_bytes=_BYTES,
    last_heard=st.none() | st.just(_MOMENT),
)


@given(_STATES)
def test_what_is_unknown_is_said_to_be_and_never_zero(state: ReplicaState) -> None:
    words = state.in_words()
    assert re.search(r"\b0 bytes", words) is None
    assert ("how much was received and not replayed is unknown" in words) == (state.unreplayed_bytes is None)
    assert ("everything that was received is replayed" in words) == (state.unreplayed_bytes == 0)
    assert ("the time of the last replayed change is unknown" in words) == (state.last_change is None)
    assert ("whether it is connected to its primary is unknown" in words) == (state.connected is None)
    assert ("it is not connected to its primary" in words) == (state.connected is False)
    assert ("replay is paused" in words) == (state.paused is True)


@given(_STATES)
def test_an_old_change_is_no_lag_in_seconds(state: ReplicaState) -> None:
    assert "second" not in state.in_words()
    document = json.loads(json.dumps(state.to_json()))
    assert not [name for name in document if "second" in name]
    assert document["received_not_replayed_bytes"] == state.unreplayed_bytes


def test_a_replica_of_which_nothing_is_known() -> None:
    assert set(ReplicaState().to_json().values()) == {None}
    assert ReplicaState().in_words().count("unknown") == 3


def test_the_refusal_is_one_line() -> None:
    assert str(refusal("`compliance seal`")) == (
        "`compliance seal` writes, and the database is a read-only replica: connect to the primary; nothing was done"
    )
