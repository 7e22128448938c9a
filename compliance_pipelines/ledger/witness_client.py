"""Asking one witness for its cosignature, as C2SP tlog-witness says (https://c2sp.org/tlog-witness, `add-checkpoint`).

Here: the request, and what each answer means. Not here: which witnesses are asked when, and where a cosignature is put
(witnessing.py).

Nothing of an answer is believed but a cosignature of the witness's key over the checkpoint that was sent. A witness
remembers one checkpoint of each ledger, and takes a larger one with the proof that it extends that one.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from compliance_pipelines.base.asking import NoAnswerError, post
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.printable import printable
from compliance_pipelines.ledger.checkpoint import MalformedNoteError, parsed_signatures
from compliance_pipelines.ledger.cosignatures import BadCosignatureError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from compliance_pipelines.base.asking import Answer, Deadline
    from compliance_pipelines.ledger.checkpoint import Checkpoint, NoteSignature
    from compliance_pipelines.ledger.witnesses import Witness

MOST_ANSWER_BYTES: Final = 2**15
"""No answer of a witness that is read has more bytes."""

_OK: Final = 200
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_UNPROCESSABLE: Final = 422
_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,18})\n?")
_MOST_AHEAD: Final = timedelta(minutes=5)
_ATTEMPTS: Final = 3
_MOST_SAID: Final = 300


class WitnessRefusesError(ComplianceError):
    """The witness does not know the ledger or its key; it has to be told, or the settings are wrong."""


class WitnessContradictsError(ComplianceError):
    """The witness has seen another ledger of this name and key: one that the present one does not extend."""


class WitnessAheadError(ComplianceError):
    """The witness has cosigned a larger checkpoint than the one that was sent.

    Attributes:
        size: of that one.
    """

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class _Tree(Protocol):
    def consistency_path(self, old_size: int) -> Sequence[bytes]:
        """The proof that the tree begins with that of its first leaves."""


@dataclass(frozen=True)
class Submission:
    """What is sent to every witness.

    Attributes:
        checkpoint: what the note says.
        text: the note's text, which is to be cosigned.
        note: the signed note.
        tree: the tree that it is the head of.
    """

    checkpoint: Checkpoint
    text: str
    note: str
    tree: _Tree


def ask_witness(
    witness: Witness, sent: Submission, known_size: int, deadline: Deadline, now: Callable[[], datetime]
) -> NoteSignature:
    """The witness's cosignature, which was checked.

    Args:
        witness: with a URL.
        sent: the checkpoint.
        known_size: of the last checkpoint that it is known to have cosigned, not above the one that is sent; 0 where
            none is. Where that is wrong it says so, and is asked again.
        deadline: at which the answer must be there.
        now: the time; a cosignature from the future is none.

    Raises:
        NoAnswerError: it did not answer in time, or answered nothing that can be used.
        WitnessRefusesError: it does not know the ledger or its key.
        WitnessContradictsError: it has seen another ledger under this name and key.
        WitnessAheadError: it has seen a larger one.
        TilesAlteredError: the proof cannot be computed.
        ObjectStoreError: the store failed.
    """
    old = known_size
    for _ in range(_ATTEMPTS):
        answer = post(
            f"{witness.url}/add-checkpoint",
            _request(sent, old),
            content_type="text/plain; charset=utf-8",
            deadline=deadline,
            most=MOST_ANSWER_BYTES,
        )
        if answer.status != _CONFLICT:
            return _cosignature(witness, sent, old, answer, now)
        old = _known_to(witness, sent, old, answer)
    raise NoAnswerError(f"the witness {witness.name} names another size at each request: somebody else asks it, too")


def _request(sent: Submission, old: int) -> bytes:
    path = "".join(f"{base64.b64encode(node).decode()}\n" for node in sent.tree.consistency_path(old))
    return f"old {old}\n{path}\n{sent.note}".encode()


def _known_to(witness: Witness, sent: Submission, old: int, answer: Answer) -> int:
    """The size of the checkpoint that the witness says it knows."""
    size = sent.checkpoint.size
    match = _SIZE.fullmatch(answer.body)
    known = None if match is None else int(match[1])
    if old == size and known in {None, size}:
        raise WitnessContradictsError(
            f"the witness {witness.name} has cosigned another checkpoint of {size} records: two ledgers were signed "
            "with this key, or the ledger was rewritten; run `compliance verify --all`"
        )
    if known is None or known == old:
        raise NoAnswerError(f"the witness {witness.name} answers a conflict without saying which: {answer}")
    if known > size:
        raise WitnessAheadError(
            f"the witness {witness.name} has cosigned a checkpoint of {known} records, and the newest here is of "
            f"{size}: the ledger was put back to an older state, or somebody else seals with this key; run "
            "`compliance verify --all`",
            known,
        )
    return known


def _cosignature(
    witness: Witness, sent: Submission, old: int, answer: Answer, now: Callable[[], datetime]
) -> NoteSignature:
    name, origin = witness.name, sent.checkpoint.origin
    if answer.status == _UNPROCESSABLE and old:
        raise WitnessContradictsError(
            f"the witness {name} has cosigned another ledger of {old} records than the first {old} of this one: two "
            "ledgers were signed with this key, or the ledger was rewritten; run `compliance verify --all`"
        )
    if answer.status == _FORBIDDEN:
        raise WitnessRefusesError(f"the witness {name} has another key for {origin}: give it this ledger's ({answer})")
    if answer.status == _NOT_FOUND:
        raise WitnessRefusesError(
            f"the witness {name} does not know {origin}: have its operator add it, or correct the URL ({answer})"
        )
    if answer.status != _OK:
        raise NoAnswerError(f"the witness {name} answers {answer}")
    try:
        mine = [each for each in parsed_signatures(answer.body.decode()) if each.is_by(witness.key)]
        times = [witness.key.time_of(sent.text, each) for each in mine]
    except (MalformedNoteError, BadCosignatureError, UnicodeDecodeError) as error:
        reason = printable(str(error), _MOST_SAID)
        raise NoAnswerError(f"the witness {name} answers with no cosignature of this checkpoint: {reason}") from error
    if not mine:
        raise NoAnswerError(f"the witness {name} answers without a cosignature of its key {witness.key}")
    if max(times) > now() + _MOST_AHEAD:
        raise NoAnswerError(f"the witness {name} cosigns with a time that has not come: {max(times).isoformat()}")
    return mine[0]
