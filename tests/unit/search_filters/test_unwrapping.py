"""Keys are unwrapped a few at a time, and nobody is asked again who did not answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from compliance_pipelines.encryption.catalogue import CataloguedKey
from compliance_pipelines.encryption.data_key import DataKey
from compliance_pipelines.encryption.errors import KeyEncryptionKeyError
from compliance_pipelines.encryption.wrapped_key import WrappedKey
from compliance_pipelines.kms.errors import KmsUnavailableError
from compliance_pipelines.search_filters import unwrapping
from compliance_pipelines.search_filters.unwrapping import unwrapped_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from compliance_pipelines.encryption.key_encryption import KeyEncryptionKeys

REFERENCE = "awskms:///alias/archives"


@dataclass
class _Service:
    """A key in a service, which wraps nothing, and refuses some."""

    error: Exception | None = None
    refuses: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)
    reference: str = REFERENCE

    def with_reference(self, reference: str) -> _Service:
        assert reference == self.reference
        return self

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        del context
        return secret

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        self.asked.append(context["object"])
        if self.error is not None:
            raise self.error
        if context["object"] in self.refuses:
            raise KeyEncryptionKeyError("it did not wrap this")
        return wrapped


def asked(service: _Service, monkeypatch: pytest.MonkeyPatch, count: int) -> tuple[dict[str, DataKey], dict[str, str]]:
    """What comes of the keys of so many objects, and which they are, by their ids."""
    keys = {f"audit-archives/{number}": DataKey.new() for number in range(count)}
    rows = [CataloguedKey(name, key.id, WrappedKey.of(name, key, service), None, None) for name, key in keys.items()]
    destroyed = CataloguedKey("audit-archives/destroyed", DataKey.new().id, None, datetime.now(UTC), "decision 7")
    monkeypatch.setattr(unwrapping, "catalogued_keys_of", lambda *_: [*rows, destroyed])
    nowhere: Any = None
    found = unwrapped_keys(nowhere, cast("KeyEncryptionKeys", service), [*keys, destroyed.object_key])
    return found, {name: key.id for name, key in keys.items()}


def test_those_that_can_be_had_are_and_the_others_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    service = _Service(refuses=frozenset({"audit-archives/3"}))
    found, ids = asked(service, monkeypatch, 20)
    del ids["audit-archives/3"]
    assert {name: key.id for name, key in found.items()} == ids
    assert len(service.asked) == 20


def test_a_service_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    service = _Service(error=KmsUnavailableError("no answer"))
    assert asked(service, monkeypatch, 20)[0] == {}
    assert len(service.asked) == 1
