from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from compliance_pipelines.local_stack.account import Account, account_for
from compliance_pipelines.local_stack.errors import EmbeddedServerError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the account")
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="root does change the account")


@as_user
def test_an_ordinary_user_stays_who_they_are(tmp_path: Path) -> None:
    account = account_for(tmp_path / "data", ())
    assert account == Account()
    assert account.command(["x"]) == ["x"]
    assert account.process_options() == {}


@as_user
def test_data_of_another_account_is_refused_with_its_name() -> None:
    with pytest.raises(EmbeddedServerError, match="/ belongs to the account 0"):
        account_for(Path("/"), ())


@as_user
def test_a_file_that_cannot_change_hands_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="cannot be given to the account 0"):
        Account(0, 0).own(tmp_path)


@as_root
def test_root_keeps_a_capability_only_where_the_way_is_closed() -> None:
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory)
        top.chmod(0o755)
        account = account_for(top / "data", ())
        assert (account.uid, account.capability) == (65534, None)
        assert account.command(["x"]) == ["x"]
        assert account.process_options()["user"] == 65534
        top.chmod(0o700)
        closed = account_for(top / "data", ())
        assert closed.capability is not None
        assert closed.command(["x"])[-2:] == ["--", "x"]
        assert closed.process_options() == {}


@as_root
def test_root_runs_existing_data_as_its_owner(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, 12345, 23456)
    account = account_for(data, ())
    assert (account.uid, account.gid) == (12345, 23456)
    assert account.owns(data)


def test_a_missing_setpriv_is_named_together_with_the_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedServerError, match=r"install setpriv .*or move the checkout"):
        Account(65534, 65534, "dac_override").command(["x"])
