"""The values that columns are set to, with what stands for the request in them.

Here: `{request}` and `{pseudonym}`. Not here: setting anything (tables.py).

`{request}` is the number of the request, `{pseudonym}` the pseudonym of the id that a row carries. They are replaced in
texts, also within JSON, so that a column whose values must differ can be set for more than one person. `{{request}}` is
written `{request}`; other braces are what they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from compliance_pipelines.erasure.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compliance_pipelines.erasure.targets import RequestFacts

REQUEST: Final = "request"
PSEUDONYM: Final = "pseudonym"
_MARK: Final = re.compile(r"\{\{(?P<written>request|pseudonym)\}\}|\{(?P<replaced>request|pseudonym)\}")


def marks_in(value: object) -> frozenset[str]:
    """What is replaced in a value: `request`, `pseudonym`, both or nothing."""
    match value:
        case str():
            return frozenset(found["replaced"] for found in _MARK.finditer(value) if found["replaced"])
        case dict():
            return frozenset().union(*map(marks_in, value.values()))
        case list():
            return frozenset().union(*map(marks_in, value))
        case _:
            return frozenset()


def values_for(values: Mapping[str, object], facts: RequestFacts | None, user_id: str) -> dict[str, object]:
    """The values that the rows of an id get.

    Args:
        values: of the rule, by column.
        facts: of the request; None where there is none.
        user_id: the id that the rows carry.

    Raises:
        TargetError: a value has the number or a pseudonym in it, and there is none.
    """
    known = {} if facts is None else {REQUEST: str(facts.request_id)}
    if facts is not None and user_id in facts.pseudonyms:
        known[PSEUDONYM] = facts.pseudonyms[user_id]
    return {name: _replaced(value, known) for name, value in values.items()}


def _replaced(value: object, known: Mapping[str, str]) -> object:
    def text_of(found: re.Match[str]) -> str:
        if found["written"]:
            return f"{{{found['written']}}}"
        if found["replaced"] not in known:
            raise TargetError(
                f"a value to be set has {found[0]} in it, and there is no {found['replaced']}"
                + (": set GDPR_PSEUDONYM_KEY" if found["replaced"] == PSEUDONYM else "")
            )
        return known[found["replaced"]]

    match value:
        case str():
            return _MARK.sub(text_of, value)
        case dict():
            return {key: _replaced(each, known) for key, each in value.items()}
        case list():
            return [_replaced(each, known) for each in value]
        case _:
            return value
