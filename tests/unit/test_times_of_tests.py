"""No test knows the time from before it began: a suite may reach it hours after it was collected."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS: Final = Path(__file__).resolve().parents[1]
_CLOCKS: Final = {"datetime.now", "datetime.utcnow", "date.today", "time.time", "time.time_ns", "system_clock"}
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
# Which day it is may be known from before where nothing depends on its being the present one.
_DAY: Final = "datetime.now(UTC).date()"


def taken_early(tree: ast.AST) -> Iterator[ast.Call]:
    """Looks at a clock that happen while a module is imported, the arguments of decorators and defaults included."""
    if isinstance(tree, ast.Call):
        if ast.unparse(tree) == _DAY:
            return
        if ast.unparse(tree.func) in _CLOCKS:
            yield tree
    for field, value in ast.iter_fields(tree):
        if field == "body" and isinstance(tree, _FUNCTIONS):
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST):
                yield from taken_early(each)


def test_no_clock_is_looked_at_while_tests_are_collected() -> None:
    early = [
        f"{path.relative_to(TESTS)}:{found.lineno}"
        for path in TESTS.rglob("*.py")
        for found in taken_early(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert early == []


@pytest.mark.parametrize(
    "source",
    [
        "SOON = datetime.now(UTC) + timedelta(minutes=4)",
        "CASES = {'a': [line(datetime.now(UTC).isoformat())]}",
        "@pytest.mark.parametrize('moment', [datetime.now(UTC)])\ndef test_it(moment): ...",
        "def entry(moment=datetime.now(UTC)): ...",
        "class A:\n    moment = time.time()",
    ],
)
def test_one_that_is_looked_at_is_found(source: str) -> None:
    assert len(list(taken_early(ast.parse(source)))) == 1


@pytest.mark.parametrize(
    "source", ["def test_it():\n    datetime.now(UTC)", "clock = lambda: datetime.now(UTC)", f"TODAY = {_DAY}"]
)
def test_one_that_is_looked_at_in_time_is_not(source: str) -> None:
    assert list(taken_early(ast.parse(source))) == []
