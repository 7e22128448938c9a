"""A policy says who the witnesses are and who must agree; what it does not say clearly is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.cosignatures import WitnessKey
from compliance_pipelines.ledger.witnesses import MalformedPolicyError, load_policy, parse_policy, read_policy
from compliance_pipelines.settings import ConfigurationError, Settings
from tests.support.witness import Witness

if TYPE_CHECKING:
    from pathlib import Path

LOG = SigningKey("example.org/log", bytes(32)).verifier_key()
X1, X2, X3, Y1, Y2 = (Witness(f"{name}.example", bytes([at] * 32)) for at, name in enumerate("abcde", 1))

# The example of https://c2sp.org/tlog-policy, with keys and fewer witnesses.
EXAMPLE = f"""
# two levels
log {LOG.to_note_string()}

witness X1 {X1.vkey} https://x1.example/prefix/
witness X2\t{X2.vkey}
  witness X3 {X3.vkey}
group X-witnesses 2 X1 X2 X3

witness Y1 {Y1.vkey}
witness Y2 {Y2.vkey}
group Y-witnesses any Y1 Y2

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def keys(*witnesses: Witness) -> list[WitnessKey]:
    return [WitnessKey.from_note_string(each.vkey) for each in witnesses]


@pytest.mark.parametrize(
    ("who", "enough"),
    [
        ((X1, X2, Y1), True),
        ((X1, X2, X3, Y1, Y2), True),
        ((X1, Y1, Y2), False),
        ((X1, X2, X3), False),
        ((), False),
    ],
)
def test_a_quorum_of_groups_is_reached_by_enough_of_each(who: tuple[Witness, ...], enough: bool) -> None:
    policy = parse_policy(EXAMPLE)

    assert policy.agreed(keys(*who)) is enough
    assert policy.needed == "2 of X-witnesses, Y-witnesses"


def test_witnesses_have_their_urls_and_the_policy_its_log() -> None:
    policy = parse_policy(EXAMPLE)

    assert [(each.name, each.url) for each in policy.witnesses] == [
        ("X1", "https://x1.example/prefix"),
        ("X2", None),
        ("X3", None),
        ("Y1", None),
        ("Y2", None),
    ]
    policy.require_log(LOG)
    with pytest.raises(ConfigurationError, match=r"for example\.org/log, and the ledger is example\.org/other"):
        policy.require_log(SigningKey("example.org/other", bytes(32)).verifier_key())


def test_no_quorum_is_reached_by_nobody_and_a_single_witness_may_be_one() -> None:
    assert parse_policy("quorum none\n").agreed([])
    policy = parse_policy(f"witness w {X1.vkey}\nquorum w\n")
    assert not policy.agreed([])
    assert policy.agreed(keys(X1))
    assert policy.needed == "w"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no line `quorum`"),
        ("quorum w\n", "line 1"),
        ("quorum none\nquorum none\n", "one quorum"),
        (f"witness w {X1.vkey}\nwitness w {X2.vkey}\nquorum w\n", "twice"),
        (f"witness w {X1.vkey}\nwitness v {X1.vkey}\nquorum w\n", "same key"),
        (f"witness none {X1.vkey}\nquorum none\n", "meaning of its own"),
        (f"witness w {LOG.to_note_string()}\nquorum w\n", "0x04 is needed"),
        (f"witness w {X1.vkey} ftp://a.example\nquorum w\n", "no URL that can be asked"),
        (f"witness w {X1.vkey} https://user:secret@a.example\nquorum w\n", "no URL that can be asked"),
        (f"witness w {X1.vkey} https://a.example/?x=1\nquorum w\n", "no URL that can be asked"),
        (f"witness w {X1.vkey} https://a.example:x/\nquorum w\n", "no URL"),
        (f"witness w {X1.vkey}\ngroup g 2 w\nquorum g\n", "needs 2 of 1"),
        (f"witness w {X1.vkey}\ngroup g 0 w\nquorum g\n", "needs 0 of 1"),
        (f"witness w {X1.vkey}\ngroup g any w w\nquorum g\n", "member twice"),
        (f"group g any w\nwitness w {X1.vkey}\nquorum g\n", "no line before names: w"),
        (f"log {LOG.to_note_string()}\nlog {LOG.to_note_string()}\nquorum none\n", "two logs"),
        ("policy 1\nquorum none\n", "'policy' is none of"),
        ("quorum none\x00\n", "control character"),
    ],
)
def test_what_is_no_policy_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(MalformedPolicyError, match=why):
        parse_policy(text)


def test_a_policy_is_given_as_itself_or_as_a_file(tmp_path: Path) -> None:
    file = tmp_path / "policy"
    file.write_text(EXAMPLE, encoding="utf-8")

    assert read_policy(str(file)) == read_policy(EXAMPLE) == parse_policy(EXAMPLE)
    with pytest.raises(ComplianceError, match="cannot be read"):
        read_policy(str(tmp_path / "missing"))
    file.write_bytes(b"#" * 2**18 + b"\nquorum none\n")
    with pytest.raises(ComplianceError, match="more than"):
        read_policy(str(file))


def test_the_setting_names_itself_where_it_cannot_be_used() -> None:
    assert load_policy(Settings(_env_file=None)) is None
    with pytest.raises(ConfigurationError, match="LEDGER_WITNESSES cannot be used: line 1"):
        load_policy(Settings(_env_file=None, ledger_witnesses="witness w x\nquorum w"))
