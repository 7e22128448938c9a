-- Each reading of a part that came to its end: whole, or damaged, and how. One that the store would not allow is none.
-- Nobody chooses the time, and nobody takes a reading back.
CREATE TABLE archive_scrubs (
    id BIGSERIAL PRIMARY KEY,
    day DATE NOT NULL,
    part INTEGER NOT NULL,
    store_id UUID NOT NULL,
    object_bytes BIGINT NOT NULL,
    damage JSONB,
    read_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT archive_scrubs_part_fkey FOREIGN KEY (day, part) REFERENCES archived_audit_logs (day, part)
);
CREATE INDEX idx_archive_scrubs_part ON archive_scrubs (day, part, id);
CREATE INDEX idx_archive_scrubs_read_at ON archive_scrubs (read_at);

-- Each part that was written again, and what the catalogue said of it before.
CREATE TABLE archive_repairs (
    id BIGSERIAL PRIMARY KEY,
    day DATE NOT NULL,
    part INTEGER NOT NULL,
    source TEXT NOT NULL,
    replaced JSONB NOT NULL,
    repaired_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT archive_repairs_part_fkey FOREIGN KEY (day, part) REFERENCES archived_audit_logs (day, part)
);
CREATE INDEX idx_archive_repairs_part ON archive_repairs (day, part);

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['archive_scrubs', 'archive_repairs'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE ON %I FOR EACH ROW '
                       'EXECUTE FUNCTION audit_refuse_change()', guarded || '_append_only', guarded);
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
                       'EXECUTE FUNCTION audit_refuse_change()', guarded || '_no_truncate', guarded);
    END LOOP;
END $$;

-- No login may change where a part lies or what it hashes to, but by this, which keeps what the row said before. What a
-- part holds (its root, its segments, its count) nothing changes.
CREATE FUNCTION audit_replace_part(of_day date, of_part integer, from_source text, by jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    old archived_audit_logs;
    new archived_audit_logs;
BEGIN
    SELECT * INTO STRICT old FROM archived_audit_logs WHERE day = of_day AND part = of_part FOR UPDATE;
    IF old.expired_at IS NOT NULL THEN
        RAISE EXCEPTION 'part % of % expired', of_part, of_day USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    new := jsonb_populate_record(old, by);
    INSERT INTO archive_repairs (day, part, source, replaced) VALUES (of_day, of_part, from_source, to_jsonb(old));
    UPDATE archived_audit_logs
        SET archive_location = new.archive_location, object_key = new.object_key, object_sha256 = new.object_sha256,
            object_bytes = new.object_bytes, object_version = new.object_version, manifest_key = new.manifest_key,
            manifest_sha256 = new.manifest_sha256, manifest_version = new.manifest_version, encryption = new.encryption
        WHERE day = of_day AND part = of_part;
END $$;

REVOKE ALL ON FUNCTION audit_replace_part(date, integer, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_replace_part(date, integer, text, jsonb) TO audit_archiver;
GRANT SELECT ON archive_scrubs, archive_repairs TO audit_writer, audit_archiver, audit_reader;
GRANT INSERT (day, part, store_id, object_bytes, damage) ON archive_scrubs TO audit_archiver;
GRANT USAGE ON SEQUENCE archive_scrubs_id_seq TO audit_archiver;
