"""The internal record of an erasure as a document for an auditor, in English: every detail.

Here: which words stand where. Not here: how it looks (pages_html.py, pages_pdf.py), and the person's (letter.py).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.erasure.pages import Document, Item, Paragraph, Section, Table, Values
from compliance_pipelines.erasure.statements import SUCCESS, canonical_json, statement_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compliance_pipelines.erasure.pages import Block

TITLE: Final = "Internal record of an erasure"
SUBTITLE: Final = (
    "For auditors and the supervisory authority, under Article 17 of the General Data Protection Regulation. It names "
    "systems, holds and data of other people: it is not for the person."
)


def record_document(record: Mapping[str, Any]) -> Document:
    """The record's pages.

    Args:
        record: as `record_of` makes it, or a certificate of the former format.
    """
    statement = record["statement"]
    sections = (
        _asked(statement),
        _outcome(record),
        _deleted(statement),
        _verified(statement),
        _kept(statement),
        _holds(statement),
    )
    closed = datetime.fromisoformat(record["closed_at"]).astimezone(UTC)
    return Document(
        language="en",
        title=TITLE,
        subtitle=SUBTITLE,
        sender=(),
        facts=(("Closed", f"{closed:%Y-%m-%d %H:%M:%S} UTC"), ("Request", str(statement["request"]["id"]))),
        addressee=(),
        sections=sections,
        closing=(),
        annex=(_proof(record),),
        dated=closed.date(),
        page_of="Page {page} of {pages}",
        data=json.dumps(record, ensure_ascii=False, indent=2) + "\n",
        data_name="record.json",
    )


def result_in_words(statement: Mapping[str, Any]) -> str:
    """How it ended. Nobody calls complete what leaves data of which nobody can tell whose they are.

    That is `partial` by now; older records say `success`.
    """
    if statement["result"] != SUCCESS:
        return f"{statement['result']}: see what was kept"
    if any(each.get("is_theirs") is False for each in statement["kept"]):
        return (
            "success: everything that can be told to be the person's was deleted; of what was kept, nobody can tell "
            "whose some is"
        )
    return "success: complete"


def _values(*rows: tuple[str, str]) -> Values:
    return Values(tuple((label, (value,)) for label, value in rows))


def _section(heading: str, *blocks: Block, empty: str = "None.") -> Section:
    return Section(heading, blocks or (Paragraph(empty),))


def _asked(statement: Mapping[str, Any]) -> Section:
    request = statement["request"]
    rows = [
        ("Person", tuple(request.get("identifiers", (request["user_id"],)))),
        ("Called in the record", (request["subject"],)),
        ("Reason", (request["reason"],)),
        ("Asked by", (request["requested_by"],)),
        ("Received", (request["received_at"],)),
        ("Recorded", (request["recorded_at"],)),
        ("Deadline (Article 12(3))", (request["deadline"],)),
    ]
    if request["replay_of"] is not None:
        rows.append(("Repeats request", (str(request["replay_of"]),)))
    return _section("What was asked", Values(tuple(rows)))


def _outcome(record: Mapping[str, Any]) -> Section:
    statement = record["statement"]
    return _section(
        "Outcome",
        Paragraph(result_in_words(statement), strong=True),
        _values(
            ("Deleted", f"{statement['deletion_count']} items"),
            ("Attempts", str(statement["attempts"])),
            ("Closed", record["closed_at"]),
        ),
    )


def _deleted(statement: Mapping[str, Any]) -> Section:
    places: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for each in statement["deleted"]:
        row = (each["data_type"], str(each["count"]), each["at"])
        places.setdefault((each["target"], each["location"]), []).append(row)
    return _section(
        "What was deleted, where and when",
        *(
            Item(f"{target}: {location}", (Table(("Kind of data", "Number", "When"), tuple(rows)),))
            for (target, location), rows in places.items()
        ),
        empty="Nothing was found.",
    )


def _verified(statement: Mapping[str, Any]) -> Section:
    rows = tuple(
        (each["target"], (each["location"], each["at"], *each.get("notes", ()))) for each in statement["verified"]
    )
    return _section(
        "Where was looked again, and nothing that could be deleted was left", *((Values(rows),) if rows else ())
    )


def _kept(statement: Mapping[str, Any]) -> Section:
    items = []
    for each in statement["kept"]:
        rows = [("Where", (each["where"],)), ("Why", (each["why"],)), ("Exception", (each["exception"],))]
        title = each["data_type"]
        if "count" in each:
            title = f"{title}: {each['count']}"
            rows.append(("References", tuple(each["references"]) or ("none",)))
        items.append(Item(title, (Values(tuple(rows)),)))
    return _section("What was kept, and under which exception", *items)


def _holds(statement: Mapping[str, Any]) -> Section:
    return _section(
        "Legal holds that delayed the erasure",
        *(
            Item(
                f"Hold {each['hold']}",
                (
                    _values(
                        ("Covers", each["covers"]),
                        ("Reason", each["reason"]),
                        ("By", each["author"]),
                        ("Exception", each["exception"]),
                        ("Stopped at", each["at"]),
                    ),
                ),
            )
            for each in statement["holds"]
        ),
    )


def _proof(record: Mapping[str, Any]) -> Section:
    proof, statement = record["proof"], record["statement"]
    segment = proof["segment"]
    rows = [
        ("Deletion record", (record["deletion_record"]["log_entry_id"],)),
        ("Of", (record["deletion_record"]["timestamp"],)),
        ("SHA-256 of the statement", (statement_hash(canonical_json(statement)),)),
        ("Segment", (f"{segment['seq']} of {segment['day']}", f"root {segment['root']}")),
        ("Signed tree head", tuple(proof["checkpoint"].strip("\n").split("\n"))),
        ("Check it", ("compliance verify-proof FILE.json --public-key KEY", "with the JSON form of this record")),
    ]
    if "certificate" in statement:
        rows.insert(2, ("Entry of the person's certificate", (statement["certificate"]["log_entry_id"],)))
    return _section("Proof", Values(tuple(rows)))
