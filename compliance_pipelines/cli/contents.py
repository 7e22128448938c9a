"""All commands: which module has each, and what the lists say of it.

Here: names and summaries. Not here: the commands. A test holds each summary equal to the first sentence of the
command's help, and each group's to what docs and help say of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.cli.groups import Listed, ListedGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTENTS: Final[Mapping[str, Listed | ListedGroup]] = {
    "archive": Listed(
        "archive", "Archive the sealed entries of each DAY (YYYY-MM-DD, UTC) and read them back from the cold store."
    ),
    "check": Listed(
        "checking",
        "Check all that is relied on: settings, database, key, cold store, each Redis and SQL target, Dagster's home.",
    ),
    "conversations": ListedGroup(
        "Retention of LangGraph conversations in Redis.",
        {
            "abandon": Listed(
                "conversations",
                "Give up the interrupted plan NUMBER: what it had set aside is put back, and the rest stays.",
            ),
            "bind": Listed("conversations", "Bind every Redis of the settings to this database's environment."),
            "plan": Listed(
                "conversations", "Show what a purge would remove now, and what would stay although it is due."
            ),
            "purge": Listed("conversations", "Remove what is due, look again, and record what went."),
            "status": Listed("conversations", "Show what there is, what is due, and what was removed so far."),
        },
    ),
    "db": ListedGroup(
        "The audit log's database: its schema and its partitions.",
        {
            "downgrade": Listed(
                "database", "Take the schema down to REVISION (`base`: to nothing), in one transaction."
            ),
            "migrate": Listed(
                "database", "Bring the schema up to REVISION, the latest by default, in one transaction."
            ),
            "rebuild": Listed(
                "rebuilding",
                "Make an empty database the one of the cold store again, and put on record what is lost.",
            ),
            "repair": Listed(
                "database", "Drop past partitions that are empty, until the server's lock table has room again."
            ),
        },
    ),
    "drop-restored": Listed(
        "restoring", "Drop the restored TABLE, or all restored tables, and what interrupted restores have loaded."
    ),
    "erase": ListedGroup(
        "Erase a person's data on request (GDPR Article 17).",
        {
            "certificate": Listed(
                "certificates", "Write the certificate of a closed request: the letter that the person gets."
            ),
            "correct": Listed(
                "erasure_decisions",
                "Put right whom a request is about: another subject, further ids, or ids that are not the person's.",
            ),
            "extend": Listed(
                "erasure_decisions",
                "Extend the deadline by two further months (Article 12(3)): once, and within a month of the receipt.",
            ),
            "list": Listed("erasure", "List the requests."),
            "plan": Listed(
                "erasure", "Show what an erasure would delete now, what it would leave, and which holds there are."
            ),
            "record": Listed(
                "certificates", "Write the internal record of a closed request: every detail, for an auditor."
            ),
            "records": Listed(
                "erasure",
                "Find a person's deletion records, by user id and by pseudonym, in the audit log and its archives.",
            ),
            "refuse": Listed(
                "erasure_decisions",
                "End a request that is manifestly unfounded or excessive (Article 12(5)), which whoever refuses has to "
                "show.",
            ),
            "replay": Listed(
                "erasure", "Erase again everybody who was erased since a backup that was restored was made."
            ),
            "request": Listed("erasure", "Record a request."),
            "run": Listed("erasure", "Carry out a request now, or every open one that is due for an attempt."),
            "show": Listed("erasure", "Show a request and everything that happened to it."),
            "targets": Listed(
                "erasure",
                "List what an erasure covers, in the order in which it is erased, and what it could not look at or "
                "clear.",
            ),
            "withdraw": Listed("erasure_decisions", "End a request because the person does not want it any more."),
        },
    ),
    "expire": Listed(
        "expiring",
        "Remove the archives of each DAY (YYYY-MM-DD, UTC) from the cold store, whose retention must be over.",
    ),
    "hold": ListedGroup(
        "Legal holds: what they cover is neither purged, deleted nor erased.",
        {
            "add": Listed("holds", "Add a hold on a user, a thread, a range of days, or everything."),
            "list": Listed("holds", "List the holds in force."),
            "release": Listed("holds", "Release a hold."),
            "sync": Listed(
                "holds",
                "Have the cold store itself hold what the holds in force touch, and let go of what they do not.",
            ),
        },
    ),
    "import": Listed(
        "importing", "Append the entries of FILE: one JSON object a line, gzip or not, in one transaction."
    ),
    "keys": ListedGroup(
        "What encrypts archives: key-encryption keys, and the keys of archives that they wrap.",
        {
            "destroy": Listed(
                "keys",
                "Destroy the keys of the archives of DAY, after which nobody can read them, also where a lock keeps "
                "the objects.",
            ),
            "init": Listed(
                "keys",
                "Make a keyring with one key in a new FILE that only its owner can read, for "
                "AUDIT_ARCHIVE_KEYRING_FILE.",
            ),
            "list": Listed("keys", "List the key-encryption keys, and how many keys of archives each wraps."),
            "remove": Listed(
                "keys",
                "Take KEY, which wraps no key any more, out of the keyring: what it wrapped in backups is worth "
                "nothing then.",
            ),
            "rotate": Listed(
                "keys",
                "Wrap the keys of all archives by another key-encryption key, without touching an archive; on record.",
            ),
            "verify": Listed("keys", "Compare both records of each archive's key, and unwrap it."),
        },
    ),
    "ledger": ListedGroup(
        "The ledger's keys, its head, who witnesses it, and the cluster it counts in.",
        {
            "adopt-cluster": Listed(
                "ledger", "Go on counting in another PostgreSQL cluster after a restore or an upgrade."
            ),
            "checkpoint": Listed(
                "ledger",
                "Print the last checkpoint in the cold store; keep copies of it where this system has no access.",
            ),
            "key": Listed("ledger", "Print the public key, which checks every signature."),
            "new-key": Listed(
                "ledger", "Make a signing key in a new file that only its owner can read, and print the public key."
            ),
            "recover": Listed(
                "recovery",
                "Go on in the ledger with a database that lacks what was published, and put on record what is lost.",
            ),
            "witness": Listed(
                "ledger",
                "Have the newest checkpoint cosigned by witnesses and each day's last one stamped, and say what is "
                "missing.",
            ),
            "rotate-key": Listed(
                "key_rotation", "Let the key NEW sign for the ledger from here on: the old key says so, on record."
            ),
        },
    ),
    "prove": Listed(
        "ledger", "Write the proof that an entry is in the ledger; `compliance verify-proof` checks it anywhere."
    ),
    "purge": Listed(
        "archive",
        "Drop the rows of each DAY (YYYY-MM-DD, UTC) from PostgreSQL, after checking that the cold store has them all.",
    ),
    "query": Listed(
        "searching",
        "Run one SELECT over the table audit_log: all entries in PostgreSQL and in the archives, each once.",
    ),
    "repair": Listed(
        "repairing", "Read back the archive of DAY (YYYY-MM-DD, UTC), and write again what is damaged of it."
    ),
    "restore": Listed(
        "restoring",
        "Load the archive of DAY (YYYY-MM-DD, UTC), or each of a range, into a table of its own, verified while "
        "loading.",
    ),
    "run": Listed("running", "Do now, in this process, what the schedules would do, for every day that is due."),
    "scrub": Listed(
        "scrubbing", "Read back from the cold store the archives that nobody has read for long, and recompute them."
    ),
    "seal": Listed("ledger", "Seal what was appended since the last pass, and publish the new checkpoint."),
    "search": Listed("searching", "Find entries wherever they are, in PostgreSQL or in the archives, each once."),
    "search-index": ListedGroup(
        "The filters by which a search knows which archives to read.",
        {
            "rebuild": Listed(
                "search_index",
                "Read archives back from the cold store, and make the filters again by which they are searched.",
            ),
        },
    ),
    "sessions": ListedGroup(
        "Retention of idle sessions, and of memories past their time, in Redis.",
        {
            "plan": Listed("sessions", "Show what a purge would remove now, and what would stay although it is due."),
            "purge": Listed("sessions", "Remove what is due, look again, and record what went."),
            "status": Listed("sessions", "Show what there is, what is due, and what was removed so far."),
        },
    ),
    "settings": Listed("settings", "Print every setting: environment names, type, default, meaning."),
    "status": Listed(
        "archive",
        "Print days per state, entries and bytes in both stores, the ledger's head, and what is held or falls due "
        "next.",
    ),
    "store": ListedGroup(
        "The cold store: making it, which one it is, and whether it keeps what it is relied on for.",
        {
            "check": Listed("store", "Try each promise that the cold store is relied on for, with objects of its own."),
            "init": Listed(
                "store", "Make the cold store of the settings and bind this database and the ledger's key to it, once."
            ),
            "republish": Listed(
                "store",
                "Put the ledger that the database holds into a cold store that is behind it, and say which archives "
                "are missing.",
            ),
            "show": Listed(
                "store",
                "Say which store the settings lead to; exit status 1 where it is not the one of this database and key.",
            ),
        },
    ),
    "verify": Listed(
        "verification", "Verify that nothing was altered, added or removed: hot entries, archives, ledger, checkpoints."
    ),
    "verify-proof": Listed(
        "proofs",
        "Check a proof, or the certificate or record of an erasure, with nothing but itself and the public key.",
    ),
}
