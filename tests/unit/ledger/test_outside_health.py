"""`compliance check` says whether witnesses and time stamps are configured so that they can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.ledger.health import check_outside
from compliance_pipelines.object_store.local import LocalObjectStore
from tests.support.witness import Witness, policy
from tests.unit.ledger import vectors
from tests.unit.ledger.logs import KEY
from tests.unit.ledger.outside import services_of

if TYPE_CHECKING:
    from pathlib import Path

POLICY = policy(Witness("w.example", bytes(32), port=1), quorum="all")
OTHER = KEY.generate("other.example/log").verifier_key().to_note_string()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root.pem"
    path.write_text(vectors.box("time stamp root"), encoding="utf-8")
    return path


def told(tmp_path: Path, **settings: Any) -> list[tuple[str, bool, str]]:  # noqa: ANN401 - those of the settings
    checks = check_outside(services_of(LocalObjectStore(tmp_path), **settings))
    return [(each.name, each.ok, each.message) for each in checks]


def test_nobody_is_nothing_to_say(tmp_path: Path) -> None:
    assert told(tmp_path) == []


def test_what_can_be_used_is_said(tmp_path: Path, root: Path) -> None:
    assert told(
        tmp_path, ledger_witnesses=POLICY, ledger_tsa_url="http://tsa.example/tsr", ledger_tsa_certificates=root
    ) == [("witnesses", True, "1 of w1 must have cosigned"), ("time stamps", True, "by http://tsa.example/tsr")]
    assert told(tmp_path, ledger_tsa_certificates=root) == [("time stamps", True, "are checked, and none is asked for")]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"ledger_witnesses": "quorum w"}, "LEDGER_WITNESSES cannot be used: line 1"),
        ({"ledger_witnesses": f"log {OTHER}\n{POLICY}"}, "the policy of the witnesses is for other.example/log"),
        ({"ledger_tsa_url": "http://tsa.example/tsr"}, "LEDGER_TSA_CERTIFICATES is not"),
        ({"ledger_tsa_certificates": "/nowhere"}, "LEDGER_TSA_CERTIFICATES cannot be used"),
    ],
)
def test_what_cannot_be_used_fails_with_its_reason(tmp_path: Path, settings: dict[str, Any], why: str) -> None:
    ((_, ok, message),) = told(tmp_path, **settings)
    assert not ok
    assert why in message
