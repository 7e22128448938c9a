-- What of each day is sealed and in no part yet, so that nobody looks through all segments for the few that wait. It
-- follows from ledger_segments and archived_segments, and is counted in the transactions that write to them. No login of
-- the pipelines may write to it; of what a superuser alters, the verification finds the difference: it counts again.
CREATE TABLE archive_backlog (
    day DATE PRIMARY KEY,
    segments BIGINT NOT NULL,
    entries BIGINT NOT NULL
);

CREATE FUNCTION audit_add_to_backlog() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO archive_backlog AS backlog (day, segments, entries)
        SELECT day, count(*), sum(entry_count) FROM changed GROUP BY day ORDER BY day
        ON CONFLICT ON CONSTRAINT archive_backlog_pkey DO UPDATE
            SET segments = backlog.segments + excluded.segments, entries = backlog.entries + excluded.entries;
    RETURN NULL;
END $$;

-- An archive run that is right does not fail because somebody altered a count: what is not there cannot be taken.
CREATE FUNCTION audit_take_from_backlog(taken date, segments bigint, entries bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE archive_backlog AS backlog
        SET segments = backlog.segments - audit_take_from_backlog.segments,
            entries = backlog.entries - audit_take_from_backlog.entries
        WHERE day = taken;
    DELETE FROM archive_backlog AS backlog WHERE day = taken AND backlog.segments <= 0;
END $$;

CREATE FUNCTION audit_take_withdrawn() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM audit_take_from_backlog(day, count(*), sum(entry_count)::bigint) FROM changed GROUP BY day ORDER BY day;
    RETURN NULL;
END $$;

CREATE FUNCTION audit_take_archived() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM audit_take_from_backlog(segment.day, count(*), sum(segment.entry_count)::bigint)
        FROM changed JOIN ledger_segments AS segment ON segment.seq = changed.segment_seq
        GROUP BY segment.day ORDER BY segment.day;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_segments_wait AFTER INSERT ON ledger_segments
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION audit_add_to_backlog();
CREATE TRIGGER ledger_segments_withdrawn AFTER DELETE ON ledger_segments
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION audit_take_withdrawn();
CREATE TRIGGER archived_segments_archived AFTER INSERT ON archived_segments
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION audit_take_archived();

-- Counts all days anew. For the owner, after it was found out who altered what.
CREATE FUNCTION audit_recount_backlog() RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    LOCK TABLE ledger_segments, archived_segments IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM archive_backlog;
    INSERT INTO archive_backlog (day, segments, entries)
        SELECT segment.day, count(*), sum(segment.entry_count) FROM ledger_segments AS segment
        WHERE NOT EXISTS (SELECT FROM archived_segments AS archived WHERE archived.segment_seq = segment.seq)
        GROUP BY segment.day;
END $$;
SELECT audit_recount_backlog();

-- The days whose rows are still in PostgreSQL; and the few columns of all parts that are added up, without their keys and
-- hashes. Voided segments stand among the statements, so that these may be many: the others are found by their kind.
CREATE INDEX idx_archived_audit_logs_not_purged ON archived_audit_logs (day) WHERE purged_at IS NULL;
CREATE INDEX idx_archived_audit_logs_totals ON archived_audit_logs (day)
    INCLUDE (entry_count, object_bytes, canonical_bytes, expired_at);
CREATE INDEX idx_ledger_statements_kind ON ledger_statements (get_byte(record, 0), seq);

REVOKE ALL ON FUNCTION audit_take_from_backlog(date, bigint, bigint), audit_recount_backlog() FROM PUBLIC;
GRANT SELECT ON archive_backlog TO audit_writer, audit_archiver, audit_reader;
