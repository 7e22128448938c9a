"""Which witnesses there are, and how many must agree: a policy as C2SP tlog-policy writes it.

Here: reading a policy (https://c2sp.org/tlog-policy), from LEDGER_WITNESSES or an option, and its quorum. Not here:
cosignatures (cosignatures.py), asking a witness (witness_client.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.printable import printable
from compliance_pipelines.ledger.checkpoint import MalformedKeyError, VerifierKey
from compliance_pipelines.ledger.cosignatures import WitnessKey, cosigned
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from compliance_pipelines.settings import Settings

_MOST_BYTES: Final = 2**18
_MOST_NAMES: Final = 1_000
_MOST_SAID: Final = 500
_NONE: Final = "none"
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BLANKS: Final = re.compile(r"[ \t]+")
_THRESHOLD: Final = re.compile(r"[1-9][0-9]{0,3}")


class MalformedPolicyError(ComplianceError):
    """A text is no policy, or of one that this version does not understand."""


@dataclass(frozen=True)
class Witness:
    """Somebody outside who sees the ledger grow.

    Attributes:
        name: in the policy, and in messages.
        key: whose cosignatures count.
        url: where it takes checkpoints (the submission prefix); None for one that is not asked by this program.
    """

    name: str
    key: WitnessKey
    url: str | None


@dataclass(frozen=True)
class _Group:
    name: str
    least: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """The witnesses, and which of them must have cosigned.

    Attributes:
        witnesses: in the order of the policy.
        logs: the keys of the logs that it is for; empty for any.
    """

    witnesses: tuple[Witness, ...]
    logs: tuple[VerifierKey, ...]
    groups: tuple[_Group, ...]
    quorum: str

    def agreed(self, keys: Collection[WitnessKey]) -> bool:
        """Whether cosignatures of these keys are enough."""
        reached = {_NONE, *(witness.name for witness in self.witnesses if witness.key in keys)}
        for group in self.groups:
            if len(reached.intersection(group.members)) >= group.least:
                reached.add(group.name)
        return self.quorum in reached

    @property
    def needed(self) -> str:
        """Who must agree, in words."""
        by_name = {group.name: group for group in self.groups}
        group = by_name.get(self.quorum)
        if group is None:
            return "nobody" if self.quorum == _NONE else self.quorum
        return f"{group.least} of {', '.join(group.members)}"

    def require_log(self, key: VerifierKey) -> None:
        """Let the ledger of a key pass, if the policy is for it or for any.

        Raises:
            ConfigurationError: it is for others.
        """
        if self.logs and all(log.name != key.name for log in self.logs):
            named = ", ".join(log.name for log in self.logs)
            raise ConfigurationError(f"the policy of the witnesses is for {named}, and the ledger is {key.name}")

    def seen(self, note: str) -> tuple[Mapping[str, datetime], Mapping[str, str], bool]:
        """What the note's lines say: when each witness cosigned, whose line is bad and how, and whether it is enough.

        Raises:
            MalformedNoteError: this is not a signed note.
        """
        said = cosigned(note, [witness.key for witness in self.witnesses])
        names = {witness.key: witness.name for witness in self.witnesses}
        times = {names[key]: time for key, time in said.times.items()}
        return times, {names[key]: how for key, how in said.bad.items()}, self.agreed(set(said.times))


def load_policy(settings: Settings) -> Policy | None:
    """The policy of LEDGER_WITNESSES; None where it is not set.

    Raises:
        ConfigurationError: it cannot be read or used.
    """
    if settings.ledger_witnesses is None:
        return None
    try:
        return read_policy(settings.ledger_witnesses)
    except ComplianceError as error:
        raise ConfigurationError(f"LEDGER_WITNESSES cannot be used: {error}") from error


def read_policy(text_or_path: str) -> Policy:
    """The policy that is given as itself, which has a line `quorum`, or as the name of a file that holds it.

    Raises:
        ComplianceError: it is neither.
    """
    if re.search(r"^[ \t]*quorum[ \t]", text_or_path, re.MULTILINE):
        return parse_policy(text_or_path)
    try:
        with Path(text_or_path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise MalformedPolicyError(f"{text_or_path} is no policy: it has more than {_MOST_BYTES:,} bytes")
        return parse_policy(data.decode())
    except (OSError, ValueError) as error:
        raise ComplianceError(f"the witnesses' policy cannot be read from {text_or_path}: {error}") from error


def parse_policy(text: str) -> Policy:
    """Read a policy.

    Raises:
        MalformedPolicyError: the text is none.
    """
    reader = _Reader()
    for number, line in enumerate(text.split("\n"), start=1):
        if _CONTROL.search(line):
            raise MalformedPolicyError(f"line {number} of the policy has a control character")
        words = [word for word in _BLANKS.split(line) if word]
        if words and not words[0].startswith("#"):
            try:
                reader.take(words)
            except (MalformedPolicyError, MalformedKeyError) as error:
                raise MalformedPolicyError(
                    f"line {number} of the policy: {printable(str(error), _MOST_SAID)}"
                ) from error
    return reader.policy()


class _Reader:
    def __init__(self) -> None:
        self._witnesses: list[Witness] = []
        self._logs: list[VerifierKey] = []
        self._groups: list[_Group] = []
        self._names: set[str] = set()
        self._quorum: str | None = None

    def take(self, words: list[str]) -> None:
        kinds: dict[str, Callable[[list[str]], None]] = {
            "log": self._log,
            "witness": self._witness,
            "group": self._group,
            "quorum": self._one_quorum,
        }
        kind = kinds.get(words[0])
        if kind is None:
            raise MalformedPolicyError(f"{words[0]!r} is none of {', '.join(kinds)}")
        kind(words[1:])

    def policy(self) -> Policy:
        if self._quorum is None:
            raise MalformedPolicyError("the policy has no line `quorum`")
        return Policy(tuple(self._witnesses), tuple(self._logs), tuple(self._groups), self._quorum)

    def _log(self, words: list[str]) -> None:
        if len(words) not in {1, 2}:
            raise MalformedPolicyError("a log has a key, and perhaps a URL")
        key = VerifierKey.from_note_string(words[0])
        if any(each.public_key == key.public_key for each in self._logs):
            raise MalformedPolicyError("two logs have the same key")
        self._logs.append(key)

    def _witness(self, words: list[str]) -> None:
        if len(words) not in {2, 3}:
            raise MalformedPolicyError("a witness has a name, a key, and perhaps a URL")
        name, key = words[0], WitnessKey.from_note_string(words[1])
        if any(each.key.public_key == key.public_key for each in self._witnesses):
            raise MalformedPolicyError("two witnesses have the same key")
        self._new(name)
        self._witnesses.append(Witness(name, key, None if len(words) == 2 else checked_url(words[2]).rstrip("/")))  # noqa: PLR2004

    def _group(self, words: list[str]) -> None:
        if len(words) < 3:  # noqa: PLR2004 - name, threshold, a member
            raise MalformedPolicyError("a group has a name, a number (or `all`, `any`), and members")
        name, threshold, *members = words
        if unknown := sorted(set(members) - self._names):
            raise MalformedPolicyError(f"the group {name} has members that no line before names: {', '.join(unknown)}")
        if len(set(members)) != len(members):
            raise MalformedPolicyError(f"the group {name} has a member twice")
        least = {"all": len(members), "any": 1}.get(threshold)
        if least is None:
            if not _THRESHOLD.fullmatch(threshold) or int(threshold) > len(members):
                raise MalformedPolicyError(f"the group {name} needs {threshold} of {len(members)}, which is none")
            least = int(threshold)
        self._new(name)
        self._groups.append(_Group(name, least, tuple(members)))

    def _one_quorum(self, words: list[str]) -> None:
        if self._quorum is not None:
            raise MalformedPolicyError("there is one quorum")
        if len(words) != 1 or (words[0] != _NONE and words[0] not in self._names):
            raise MalformedPolicyError("the quorum is a witness or a group of a line before, or `none`")
        self._quorum = words[0]

    def _new(self, name: str) -> None:
        if name == _NONE or name in self._names:
            raise MalformedPolicyError(f"the name {name} is given twice, or has a meaning of its own")
        if len(self._names) == _MOST_NAMES:
            raise MalformedPolicyError(f"it has more than {_MOST_NAMES:,} names")
        self._names.add(name)


def checked_url(text: str) -> str:
    """A URL that can be asked.

    Raises:
        MalformedPolicyError: it is none over http or https, or has a user, a query or a fragment.
    """
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError as error:
        raise MalformedPolicyError(f"{text!r} is no URL: {error}") from error
    if not usable or not text.isascii() or "@" in parts.netloc or parts.query or parts.fragment:
        raise MalformedPolicyError(
            f"{text!r} is no URL that can be asked: give http:// or https://, a host, and perhaps a port and a path"
        )
    return text
