r"""Whose a memory is: the namespaces of LangGraph's stores, and the rules that say which belong to one person.

Here: reading a stored namespace, and GDPR_STORE_NAMESPACES. Not here: any key (memories.py).

The Python store writes a namespace as its labels joined by dots and then escapes all punctuation with backslashes, the
dots too. The JavaScript store joins the labels by dots and leaves them as they are. So `memories.al\ice`, which has a
dot that is not escaped, is the JavaScript store's and names the user `al\ice`, and `memories\.alice` is the Python
store's and names `alice`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from compliance_pipelines.erasure.errors import TargetError

_PERSON: Final = "{user_id}"
_ANY: Final = "*"
_ANY_FURTHER: Final = "**"
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
# A text in which each dot, and nothing that is a letter or a digit, has a backslash before it.
_ESCAPES_ALL_DOTS: Final = re.compile(r"(?:[^\\.]|\\[^A-Za-z0-9])*", re.DOTALL)


def namespace_of(prefix: str) -> tuple[str, ...]:
    """The labels of a stored `prefix`. A label that has a dot itself, which LangGraph refuses, counts as several."""
    plain = _ESCAPED.sub(r"\1", prefix) if _ESCAPES_ALL_DOTS.fullmatch(prefix) else prefix
    return tuple(plain.split("."))


def names(namespace: tuple[str, ...], user_id: str) -> bool:
    """Whether a namespace names the person, as a label or, where the user id has dots, as several."""
    return f".{user_id}." in f".{'.'.join(namespace)}."


@dataclass(frozen=True)
class _Pattern:
    """Labels, and whether it is the memory's key that is the person."""

    labels: tuple[str, ...]
    by_key: bool = False

    def owner(self, namespace: tuple[str, ...], key: str | None) -> str | None:
        fixed = self.labels
        if fixed[-1] == _ANY_FURTHER:
            fixed, namespace = fixed[:-1], namespace[: len(fixed) - 1]
        if len(fixed) != len(namespace):
            return None
        if any(want not in {_PERSON, _ANY, label} for want, label in zip(fixed, namespace, strict=True)):
            return None
        return key if self.by_key else namespace[fixed.index(_PERSON)]


@dataclass(frozen=True)
class NamespaceRules:
    """Which namespaces belong to one person, and to whom.

    Attributes:
        patterns: labels, `{user_id}` once, `*` for any label, `**` at the end for any further ones; or labels without
            a person, where the memory's key is the person.
    """

    patterns: tuple[_Pattern, ...]

    @classmethod
    def from_json(cls, text: str) -> NamespaceRules:
        """The rules of GDPR_STORE_NAMESPACES.

        Raises:
            TargetError: they are malformed.
        """
        try:
            parsed = json.loads(text)
        except ValueError as error:
            raise TargetError(f"GDPR_STORE_NAMESPACES is no JSON: {error}") from error
        if not isinstance(parsed, list) or not parsed:
            raise TargetError("GDPR_STORE_NAMESPACES must be a list of namespaces, each a list of labels")
        return cls(tuple(_pattern(each) for each in parsed))

    def owner(self, namespace: tuple[str, ...], key: str | None = None) -> str | None:
        """To whom a memory belongs by the first pattern that fits its namespace; None where none does."""
        return next((owner for pattern in self.patterns if (owner := pattern.owner(namespace, key)) is not None), None)


def _pattern(rule: object) -> _Pattern:
    if isinstance(rule, dict):
        if set(rule) != {"namespace", "key"} or rule["key"] != _PERSON:
            raise TargetError(
                f"GDPR_STORE_NAMESPACES: {rule} must have the members namespace, a list of labels, and key, which is "
                f"{_PERSON}"
            )
        return _Pattern(_labels(rule["namespace"], persons=0), by_key=True)
    return _Pattern(_labels(rule, persons=1))


def _labels(labels: object, *, persons: int) -> tuple[str, ...]:
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) and label for label in labels):
        raise TargetError("GDPR_STORE_NAMESPACES: a namespace must be a list of labels, which are texts")
    if labels.count(_PERSON) != persons:
        wanted = f"must name {_PERSON} exactly once" if persons else f"must not name {_PERSON}: its key does"
        raise TargetError(f"GDPR_STORE_NAMESPACES: {labels} {wanted}")
    if _ANY_FURTHER in labels[:-1]:
        raise TargetError(f"GDPR_STORE_NAMESPACES: {labels} has {_ANY_FURTHER} before its end")
    if labels == [_ANY_FURTHER]:
        raise TargetError(f"GDPR_STORE_NAMESPACES: {labels} is every namespace")
    return tuple(labels)
