"""What a certificate shows to a reader: sections of labelled values and tables, for every form alike.

Here: which words stand where. Not here: HTML (certificate_html.py) and PDF (certificate_pdf.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compliance_pipelines.erasure.closing import canonical_json, statement_hash


@dataclass(frozen=True)
class Section:
    """A part of the certificate.

    Attributes:
        title: its heading.
        header: of the table's columns; empty where the rows are labels and values.
        rows: of cells.
        empty: what is said where there is no row.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str = ""


TITLE = "Certificate of erasure"
SUBTITLE = "General Data Protection Regulation, Article 17"


def sections_of(certificate: dict[str, Any]) -> list[Section]:
    """The certificate's content in reading order."""
    statement = certificate["statement"]
    return [
        _asked(statement),
        _outcome(certificate),
        _deleted(statement),
        _verified(statement),
        _kept(statement),
        _holds(statement),
        _proof(certificate),
    ]


def _asked(statement: dict[str, Any]) -> Section:
    request = statement["request"]
    rows = [
        ("Request", str(request["id"])),
        ("Person", request["user_id"]),
        ("Called in the record", request["subject"]),
        ("Reason", request["reason"]),
        ("Asked by", request["requested_by"]),
        ("Received", request["received_at"]),
        ("Recorded", request["recorded_at"]),
        ("Deadline (Article 12(3))", request["deadline"]),
    ]
    if request["replay_of"] is not None:
        rows.append(("Repeats request", str(request["replay_of"])))
    return Section("What was asked", (), tuple(rows))


def _outcome(certificate: dict[str, Any]) -> Section:
    statement = certificate["statement"]
    complete = "complete" if statement["result"] == "success" else "partial: see what was kept"
    return Section(
        "Outcome",
        (),
        (
            ("Result", complete),
            ("Deleted", f"{statement['deletion_count']} items"),
            ("Attempts", str(statement["attempts"])),
            ("Closed", certificate["closed_at"]),
        ),
    )


def _deleted(statement: dict[str, Any]) -> Section:
    return Section(
        "What was deleted, where and when",
        ("Kind of data", "Number", "Where", "When"),
        tuple((each["data_type"], str(each["count"]), each["location"], each["at"]) for each in statement["deleted"]),
        "Nothing was found.",
    )


def _verified(statement: dict[str, Any]) -> Section:
    return Section(
        "Where was looked again, and nothing that could be deleted was left",
        ("Target", "Where", "When", "Note"),
        tuple(
            (each["target"], each["location"], each["at"], "; ".join(each.get("notes", ())))
            for each in statement["verified"]
        ),
    )


def _kept(statement: dict[str, Any]) -> Section:
    rows = []
    for each in statement["kept"]:
        why = each["why"]
        if "count" in each:
            why = f"{each['count']}: {why}: {', '.join(each['references'])}"
        rows.append((each["data_type"], each["where"], why, each["exception"]))
    return Section(
        "What was kept, and under which exception", ("Kind of data", "Where", "Why", "Exception"), tuple(rows)
    )


def _holds(statement: dict[str, Any]) -> Section:
    return Section(
        "Legal holds that delayed the erasure",
        ("Hold", "Covers", "Reason", "By", "Stopped at"),
        tuple(
            (str(each["hold"]), each["covers"], each["reason"], each["author"], each["at"])
            for each in statement["holds"]
        ),
        "None.",
    )


def _proof(certificate: dict[str, Any]) -> Section:
    proof = certificate["proof"]
    return Section(
        "Proof",
        (),
        (
            ("Deletion record", certificate["deletion_record"]["log_entry_id"]),
            ("Of", certificate["deletion_record"]["timestamp"]),
            ("SHA-256 of the statement", statement_hash(canonical_json(certificate["statement"]))),
            ("Segment", f"{proof['segment']['seq']} of {proof['segment']['day']}, root {proof['segment']['root']}"),
            ("Signed tree head", proof["checkpoint"]),
            ("Check it", "compliance verify-proof FILE.json --public-key KEY, with the JSON form of this certificate"),
        ),
    )
