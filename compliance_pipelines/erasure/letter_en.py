"""The words of a certificate in English.

Here: words. Not here: which there must be (letter_words.py).
"""

from __future__ import annotations

from typing import Final

from compliance_pipelines.erasure.letter_words import Headings, Labels, Language

ENGLISH: Final = Language(
    code="en",
    months=(
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ),
    date_form="{day} {month} {year}",
    first_of_month="1",
    thousands=",",
    period="{first} to {last}",
    page_of="Page {page} of {pages}",
    title="Certificate of erasure",
    title_undone="Answer to your request for erasure",
    subtitle="Our answer to your request under Article 17 of the General Data Protection Regulation (GDPR)",
    reference="Erasure request {number}",
    headings=Headings(
        asked="Your request",
        result="Result",
        deleted="What was deleted",
        gone="What had gone before",
        not_deleted="What was not deleted, and why",
        kept="What we keep because the law provides for it",
        scope="What the erasure covered",
        rights="Your rights",
        proof="How this certificate can be checked",
    ),
    labels=Labels(
        date="Date",
        reference="Reference",
        user_id="Your user ID",
        user_ids="Your user IDs",
        asked="You asked for",
        received="Received on",
        due="To be answered by",
        extension_reason="Reason for the extension",
        reason="Reason",
        kind="Kind of data",
        number="Number",
        when="Deleted on",
        why="Why",
        basis="Legal basis",
        entry="Audit log entry",
        closing_entry="Entry that closed the request",
        recorded="Recorded",
        sha256="SHA-256 of the statement",
        ledger="Signed ledger: name, size, root",
        check="Command",
    ),
    asked="the erasure of all personal data under this user ID (Article 17 GDPR)",
    due="{date} (Article 12(3) GDPR)",
    extended="{date} (extended under Article 12(3) GDPR; first {first})",
    replay="Data had been restored from a backup. The erasure of request {number} was therefore carried out again.",
    outcomes={
        "complete": "The erasure is complete. All data that our application held under your user ID have been "
        "deleted; we keep only the records described under “{kept}”.",
        "complete_nothing": "Our application held no data under your user ID, so there was nothing to delete. We "
        "keep only the records described under “{kept}”.",
        "attributable": "Everything that can be told to be yours has been deleted. There are also data of which "
        "nobody can tell whose they are. They were not deleted, and we do not know whether any of them concern "
        "you; see “{not_deleted}”.",
        "attributable_nothing": "Our application held no data that can be told to be yours, so there was nothing to "
        "delete. There are data of which nobody can tell whose they are. They were not deleted, and we do not "
        "know whether any of them concern you; see “{not_deleted}”.",
        "partial": "Your data have been deleted in part. What was not deleted, and why, is described under "
        "“{not_deleted}”.",
        "refused": "We have refused your request and do not carry it out. The GDPR permits this where a request is "
        "manifestly unfounded or excessive (Article 12(5)(b) GDPR).",
        "withdrawn": "Your request was withdrawn, and we do not carry it out.",
    },
    delayed="Part of the erasure was postponed for a time because the data concerned were needed for legal claims "
    "(Article 17(3)(e) GDPR).",
    verified="On {date} all places that this erasure covers were searched again. Nothing more was found that could "
    "be deleted.",
    nothing_deleted="Nothing was deleted.",
    gone="These data were found and had gone when we came to delete them. We cannot tell whether this erasure or "
    "something else deleted them.",
    kinds={
        "sessions": "Login sessions",
        "session_lists": "List of your login sessions",
        "conversations": "Conversations with the assistant",
        "memories": "Memories that the assistant kept about you",
        "memory_vectors": "Search data made from such memories",
        "other": "Other records in our databases",
    },
    unlinked="{kind} (nothing links them to you any more)",
    unknown_number="not known",
    counted="{kind}: {number}",
    not_deleted={
        "shared": "Data that also concern other people",
        "unattributable": "Data of which nobody can tell whose they are",
        "unfinished": "Data whose deletion was not finished",
        "reduced": "Records that were kept with fewer details",
    },
    reasons={
        "shared": "These data also concern other people, or cannot be separated from theirs. Deleting them would "
        "delete other people’s data as well, so it was not done automatically. A member of our staff has to "
        "decide about them; please contact us if you want to know the outcome.",
        "unattributable": "Nothing in these data says whose they are, so nobody can tell whether any of them are "
        "yours. The numbers are those of all such data, not of yours. If you can tell us which are yours, for "
        "example when or about what they were made, we can look again.",
        "unfinished": "The erasure in one of our systems was begun and could not be finished, and that system is no "
        "longer among those that the erasure reaches. Data of yours may still be there. Please contact us about "
        "them.",
        "reduced": "Details in these records were removed or replaced. The records themselves remain and still carry "
        "your user ID. Where a number is 0 there are no such records, or their details had been removed before.",
    },
    bases={
        "shared": "The rights of the other people concerned; Article 17(3) GDPR has no reason of its own for keeping "
        "these data.",
        "unattributable": "Article 11 GDPR: we are not able to identify whom these data concern.",
        "unfinished": "None of the exceptions of Article 17(3) GDPR.",
        "reduced": "We tell you the reason on request; see “{rights}”.",
    },
    kept_kinds={
        "audit_log": "Entries in our audit log that carry your user ID",
        "erasure_record": "The record of this request, with your user ID",
    },
    kept_reasons={
        "audit_log": "The audit log says who did what in our systems. The law and its auditors ask for it, and "
        "nobody can change it. The period for which we keep it is {years} years.",
        "erasure_record": "It shows that we answered your request, and it serves to delete your data again if a "
        "backup has to be restored.",
    },
    kept_bases={
        "audit_log": "Article 17(3)(b) GDPR (legal obligation) and Article 17(3)(e) GDPR (legal claims).",
        "erasure_record": "Article 17(3)(b) GDPR with Articles 5(2) and 12(3) GDPR, and Article 17(3)(e) GDPR.",
    },
    scope="The erasure covered the systems in which our application keeps its users’ data. It did not cover backup "
    "copies, or correspondence with us. Please contact us if your question is about those.",
    complaint="If you consider that our handling of your data, or this answer, infringes the GDPR, you have the "
    "right to lodge a complaint with a supervisory authority, in particular in the Member State in which you "
    "live or work or in which the alleged infringement took place (Articles 12(4) and 77 GDPR).",
    authority="The supervisory authority responsible for us is:",
    remedy="You also have the right to an effective judicial remedy: you may bring proceedings against us before the "
    "courts (Articles 12(4) and 79 GDPR).",
    contact="If you have questions about this letter or about your data, please write to:",
    greeting="Yours sincerely",
    proven="What this letter says about your request, its result, and what was deleted and kept stands in a "
    "statement. The statement’s hash is in an entry of our audit log, which is sealed so that no later change "
    "goes unnoticed. Anybody who has the data of this certificate (JSON; the PDF has it as an attachment, the "
    "HTML page in its source) and the public key of our ledger can check this without us. The date, the "
    "addresses and the wording of this letter are not proven by it.",
    unproven="Your request was closed before we bound certificates to our audit log. This letter was drawn up on the "
    "above date from our internal record of the request, and it has no proof of its own. The internal record is "
    "proven by the entry of our audit log that is named here; the supervisory authority can have that checked.",
    utc="UTC",
)
