"""The table of all settings, made from the settings model.

Here: the Markdown that docs/configuration.md holds between its markers, and that `compliance settings` prints.
Not here: the settings themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args, get_origin

from pydantic import AliasChoices, SecretStr
from pydantic_core import PydanticUndefined

from compliance_pipelines.settings import Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


def environment_names(name: str, field: FieldInfo) -> tuple[str, ...]:
    """The environment variables that set a field, the preferred one first."""
    alias = field.validation_alias
    names = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name]
    return tuple(each.upper() for each in names)


def _allowed(annotation: object) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) in {dict, tuple}:
        return "JSON object" if get_origin(annotation) is dict else "JSON list"
    kinds = [kind for kind in (get_args(annotation) or (annotation,)) if kind is not type(None)]
    if len(kinds) == 1 and kinds[0] is not annotation:
        return _allowed(kinds[0])
    if SecretStr in kinds:
        return "text (secret)"
    names = {
        "int": "whole number",
        "float": "number",
        "str": "text",
        "bool": "true or false",
        "date": "date",
        "Path": "path",
    }
    return ", ".join(names.get(getattr(kind, "__name__", ""), str(kind)) for kind in kinds)


def _default(field: FieldInfo) -> str:
    if field.default is None or field.default is PydanticUndefined or field.default == ():
        return ""
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def markdown_table() -> str:
    """One row a setting: environment names, type, default, meaning."""
    rows = ["| environment variable | value | default | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        names = "<br>".join(f"`{each}`" for each in environment_names(name, field))
        rows.append(f"| {names} | {_allowed(field.annotation)} | {_default(field)} | {field.description} |")
    return "\n".join(rows) + "\n"
