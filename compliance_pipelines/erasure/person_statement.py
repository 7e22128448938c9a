"""What is said to the person about an erasure, out of what is said to an auditor (closing.py).

Here: which facts, as codes, counts and times. Not here: words for them (letter_words.py), and proof (certificate.py).

The internal statement names threads, sessions and tables of other people, hosts, logins, holds and whoever entered the
request. Nothing is copied from it that is not named here, so that what it may say tomorrow does not reach the person
by itself. Names of targets and kinds of data are internal too; kinds.py says what stands for them.

    { "request":     {"id", "user_ids", "received_at", "deadline", "replay_of"},
      "extension":   {"deadline", "reason"}; null where the answer was due within the month,
      "outcome":     "complete" | "attributable" | "partial" | "refused" | "withdrawn",
      "decision":    {"at", "reason"} of the last two, else null,
      "deleted":     [{"kind", "words"?, "unlinked": true?, "count", "first_at", "last_at"}],
      "gone":        the same of what went without anybody knowing whether the erasure deleted it,
      "verified_at": when everything was looked at again; null where it was not,
      "not_deleted": [{"kind", "words"?, "count", "reason": "shared" | "unattributable" | "unfinished" | "reduced"}],
      "kept_by_law": [{"kind": "audit_log", "years"}, {"kind": "erasure_record"}],
      "delayed_by_legal_claims": whether a legal hold had stopped it for a time,
      "salt":        random, so that nobody can guess the statement from its hash }

A count is null where nobody knows it. The reasons are what the controller must tell the person (GDPR Article 12(3) and
(4)); no other text that somebody typed is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.erasure.kinds import OWN_KINDS, REDUCED, UNLINKED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from compliance_pipelines.erasure.kinds import Kinds

COMPLETE: Final = "complete"
ATTRIBUTABLE: Final = "attributable"
PARTIAL: Final = "partial"
"""Everything of the person is gone; everything that can be told to be theirs is gone; something of theirs stays."""
REFUSED: Final = "refused"
WITHDRAWN: Final = "withdrawn"
NOT_CARRIED_OUT: Final = (REFUSED, WITHDRAWN)
OUTCOMES: Final = (COMPLETE, ATTRIBUTABLE, PARTIAL, *NOT_CARRIED_OUT)

SHARED: Final = "shared"
UNATTRIBUTABLE: Final = "unattributable"
UNFINISHED: Final = "unfinished"
REASONS: Final = (SHARED, UNATTRIBUTABLE, UNFINISHED, REDUCED)

AUDIT_LOG: Final = "audit_log"
ERASURE_RECORD: Final = "erasure_record"
LAWFUL_KINDS: Final = (AUDIT_LOG, ERASURE_RECORD)


def statement_for_person(
    statement: Mapping[str, Any], *, kinds: Kinds, retention_years: int, salt: str, counts_rows: bool = True
) -> dict[str, Any]:
    """What the person is told.

    Args:
        statement: the internal one, as `closing.statement_of` makes it.
        kinds: how kinds of data are told.
        retention_years: for how long the audit log is kept.
        salt: random characters.
        counts_rows: whether what was reported of tables is counted in rows, as it was not always.
    """
    request = statement["request"]
    not_deleted = _not_deleted(statement["kept"], kinds, counts_rows=counts_rows)
    not_deleted += _reduced(statement, kinds)
    return {
        "request": {
            "id": request["id"],
            "user_ids": list(request.get("identifiers", (request["user_id"],))),
            **{name: request[name] for name in ("received_at", "deadline", "replay_of")},
        },
        "extension": _decision(statement, ("extended",), "deadline", "reason"),
        "outcome": _outcome(statement["result"], {each["reason"] for each in not_deleted}),
        "decision": _decision(statement, NOT_CARRIED_OUT, "at", "reason"),
        "deleted": _deleted(statement["deleted"], kinds),
        "gone": _deleted(statement.get("gone", ()), kinds),
        "verified_at": max((each["at"] for each in statement["verified"]), default=None),
        "not_deleted": not_deleted,
        "kept_by_law": [{"kind": AUDIT_LOG, "years": retention_years}, {"kind": ERASURE_RECORD}],
        "delayed_by_legal_claims": bool(statement["holds"]),
        "salt": salt,
    }


def _outcome(result: str, reasons: set[str]) -> str:
    if result in NOT_CARRIED_OUT:
        return result
    if reasons - {UNATTRIBUTABLE}:
        return PARTIAL
    return ATTRIBUTABLE if reasons else COMPLETE


def _decision(statement: Mapping[str, Any], kinds: Sequence[str], *fields: str) -> dict[str, Any] | None:
    """The last decision of one of these kinds, with these fields and nothing else of it."""
    made = [each for each in statement.get("decisions", ()) if each["kind"] in kinds]
    return {name: made[-1][name] for name in fields} if made else None


def _deleted(deleted: Sequence[Mapping[str, Any]], kinds: Kinds) -> list[dict[str, Any]]:
    """What is gone, by kind; what was reduced is not."""
    told: list[dict[str, Any]] = []
    for each in deleted:
        became = kinds.overwritten.get(each["data_type"])
        if became == REDUCED:
            continue
        kind = kinds.told(each["data_type"]) | ({"unlinked": True} if became == UNLINKED else {})
        same = next((one for one in told if _kind_of(one) == kind), None)
        if same is None:
            told.append({**kind, "count": each["count"], "first_at": each["at"], "last_at": each["at"]})
            continue
        same["count"] += each["count"]
        same["first_at"] = min(same["first_at"], each["at"])
        same["last_at"] = max(same["last_at"], each["at"])
    return told


def _reduced(statement: Mapping[str, Any], kinds: Kinds) -> list[dict[str, Any]]:
    """The tables whose rows stay with fewer details.

    Rows that had been reduced before do not show in what was deleted. So a table is told with a count of 0 as well:
    nobody may read "complete" where rows of theirs may stay.
    """
    counts = [(each["target"], 0) for each in statement["verified"]]
    counts += [(each["data_type"], each["count"]) for each in statement["deleted"]]
    told: list[dict[str, Any]] = []
    for data_type, count in counts:
        if kinds.overwritten.get(data_type) == REDUCED:
            _add(told, {**kinds.told(data_type), "reason": REDUCED}, count)
    return told


def _not_deleted(kept: Sequence[Mapping[str, Any]], kinds: Kinds, *, counts_rows: bool) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    # What every erasure keeps has no `is_theirs`: it is told by name.
    for each in (each for each in kept if "is_theirs" in each):
        reason = _reason(each)
        known = reason != UNFINISHED and (counts_rows or each["data_type"] in OWN_KINDS)
        _add(told, {**kinds.told(each["data_type"]), "reason": reason}, each["count"] if known else None)
    return told


def _add(told: list[dict[str, Any]], kind: dict[str, Any], count: int | None) -> None:
    """Count it to what is told of this kind for this reason."""
    for same in told:
        if _kind_of(same) == kind:
            same["count"] = None if None in {same["count"], count} else same["count"] + count
            return
    told.append({**kind, "count": count})


def _kind_of(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: told[name] for name in ("kind", "words", "unlinked", "reason") if name in told}


def _reason(kept: Mapping[str, Any]) -> str:
    if not kept["is_theirs"]:
        return UNATTRIBUTABLE
    return UNFINISHED if kept["exception"] == "none" else SHARED
