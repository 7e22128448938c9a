"""A hold on an id that is not the one that was meant keeps nothing: it is refused unless somebody says it is meant."""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.errors import InvalidHoldError
from compliance_pipelines.holds.record import NewHold
from tests.support.command import Command

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.settings import Settings

BY = ("--reason", "case 7", "--author", "counsel")
SUSPICIOUS = {
    "alice@example.com ": "white space",
    "\u00a0alice@example.com": "white space",
    "alice\u200b@example.com": "nobody sees",
    "\u202ealice@example.com": "nobody sees",
    "\u0430lice@example.com": "look like others",  # a Cyrillic letter
    "al\u0131ce": "look like others",
    unicodedata.normalize("NFD", "bj\u00f6rn@example.com"): "not in Unicode's form NFC",
    "\uff41lice": "not in Unicode's form NFKC",
}


@pytest.fixture
def command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """The command of whoever operates the pipelines."""
    command = Command(monkeypatch, capsys, tmp_path)
    command.use(settings)
    return command


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize("option", ["--user", "--thread"])
@pytest.mark.parametrize(("subject", "why"), SUSPICIOUS.items(), ids=ascii)
def test_a_suspicious_id_is_refused_and_taken_as_it_is(command: Command, option: str, subject: str, why: str) -> None:
    done = command("hold", "add", option, subject, *BY)
    assert (done.status, done.out, len(done.err.splitlines())) == (1, "", 1), done
    assert "may not be the one that is meant" in done.err
    assert why in done.err
    assert "--as-it-is" in done.err
    assert json.loads(command("hold", "list", "--json").out) == []
    done = command("hold", "add", option, subject, "--as-it-is", *BY)
    assert done.status == 0, done
    (held,) = json.loads(command("hold", "list", "--json").out)
    assert held["subject"] == subject
    for shown in (done.out, command("hold", "list").out):
        assert shown.rstrip("\n").isprintable()


@pytest.mark.parametrize("subject", [" ", "\u200b", "\u3164", "\t\n"], ids=ascii)
@pytest.mark.parametrize("scope", [HoldScope.USER, HoldScope.THREAD])
def test_an_id_in_which_nothing_is_to_be_seen_is_nobodys(subject: str, scope: HoldScope) -> None:
    for as_it_is in (False, True):
        with pytest.raises(InvalidHoldError, match="nothing to see"):
            NewHold(scope, "case 7", "counsel", subject=subject, as_it_is=as_it_is)


@pytest.mark.usefixtures("services")
def test_ids_that_look_like_what_they_are_need_no_word(command: Command) -> None:
    for subject in ("alice@example.com", "user:7", "bj\u00f6rn", "\u0418\u0432\u0430\u043d", "\u738b\u4f1f"):
        assert command("hold", "add", "--user", subject, *BY).status == 0
