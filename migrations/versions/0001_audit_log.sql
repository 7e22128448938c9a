-- The audit log, its ledger and its archive catalogue. Every object belongs to audit_owner, which cannot log in.

CREATE SEQUENCE audit_logs_id_seq AS bigint;

-- Transaction ids start again when the database is restored into another cluster. `compliance ledger adopt-cluster`
-- replaces both functions with a larger offset, so that ids keep growing. They are plain SQL so that they are inlined.
CREATE FUNCTION audit_tx_id() RETURNS bigint LANGUAGE sql STABLE
    AS $$ SELECT pg_catalog.pg_current_xact_id()::text::bigint + 0 $$;
CREATE FUNCTION audit_tx_horizon() RETURNS bigint LANGUAGE sql STABLE
    AS $$ SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint + 0 $$;

CREATE TABLE audit_logs (
    id BIGINT NOT NULL DEFAULT nextval('audit_logs_id_seq'),
    log_entry_id TEXT NOT NULL,
    "timestamp" TIMESTAMPTZ NOT NULL,
    user_id TEXT NOT NULL,
    action TEXT NOT NULL,
    resource_type TEXT,
    resource_id TEXT,
    result TEXT NOT NULL,
    metadata JSONB,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    tx_id BIGINT NOT NULL DEFAULT audit_tx_id(),
    CONSTRAINT audit_logs_pkey PRIMARY KEY (id, "timestamp"),
    CONSTRAINT audit_logs_log_entry_id_timestamp_key UNIQUE (log_entry_id, "timestamp"),
    CONSTRAINT audit_logs_timestamp_is_finite CHECK (isfinite("timestamp")),
    CONSTRAINT audit_logs_timestamp_has_a_day CHECK ("timestamp" >= '0001-01-01 00:00:00+00'),
    CONSTRAINT audit_logs_timestamp_not_in_future CHECK ("timestamp" <= created_at + interval '5 minutes')
) PARTITION BY RANGE ("timestamp");
ALTER SEQUENCE audit_logs_id_seq OWNED BY audit_logs.id;

CREATE INDEX idx_audit_logs_user_id ON audit_logs (user_id);
CREATE INDEX idx_audit_logs_timestamp ON audit_logs ("timestamp");
CREATE INDEX idx_audit_logs_action ON audit_logs (action);
CREATE INDEX idx_audit_logs_tx_id ON audit_logs USING brin (tx_id);

CREATE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % refused: the audit trail is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_logs_append_only BEFORE UPDATE OR DELETE ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER audit_logs_no_truncate BEFORE TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();

CREATE TABLE audit_logs_default PARTITION OF audit_logs DEFAULT;
CREATE TRIGGER audit_logs_no_truncate BEFORE TRUNCATE ON audit_logs_default
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();

CREATE TABLE ledger_clusters (
    number INTEGER PRIMARY KEY,
    system_identifier BIGINT NOT NULL,
    tx_offset BIGINT NOT NULL,
    adopted_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    adopted_by TEXT NOT NULL DEFAULT session_user
);
INSERT INTO ledger_clusters (number, system_identifier, tx_offset)
    SELECT 1, system_identifier, 0 FROM pg_control_system();

CREATE TABLE ledger_segments (
    seq BIGINT PRIMARY KEY,
    day DATE NOT NULL,
    tx_from BIGINT NOT NULL,
    tx_to BIGINT NOT NULL,
    first_id BIGINT NOT NULL,
    last_id BIGINT NOT NULL,
    entry_count BIGINT NOT NULL,
    root BYTEA NOT NULL,
    sealed_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT ledger_segments_tx_range CHECK (tx_from < tx_to),
    CONSTRAINT ledger_segments_not_empty CHECK (entry_count > 0),
    CONSTRAINT ledger_segments_root_is_sha256 CHECK (octet_length(root) = 32),
    CONSTRAINT ledger_segments_day_tx_from_key UNIQUE (day, tx_from)
);

CREATE TABLE ledger_checkpoints (
    size BIGINT PRIMARY KEY,
    root BYTEA NOT NULL,
    tx_horizon BIGINT NOT NULL,
    frontier BYTEA NOT NULL,
    note TEXT NOT NULL,
    signed_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT ledger_checkpoints_root_is_sha256 CHECK (octet_length(root) = 32)
);

CREATE TABLE ledger_publications (
    size BIGINT PRIMARY KEY,
    object_key TEXT NOT NULL,
    published_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT ledger_publications_size_fkey FOREIGN KEY (size) REFERENCES ledger_checkpoints (size)
);

CREATE TABLE archived_audit_logs (
    day DATE NOT NULL,
    part INTEGER NOT NULL,
    archive_location TEXT NOT NULL,
    object_key TEXT NOT NULL,
    object_sha256 TEXT NOT NULL,
    object_bytes BIGINT NOT NULL,
    manifest_key TEXT NOT NULL,
    manifest_sha256 TEXT NOT NULL,
    entry_count BIGINT NOT NULL,
    canonical_bytes BIGINT NOT NULL,
    first_id BIGINT NOT NULL,
    last_id BIGINT NOT NULL,
    root BYTEA NOT NULL,
    encryption JSONB,
    archived_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    verified_at TIMESTAMPTZ,
    purged_at TIMESTAMPTZ,
    expired_at TIMESTAMPTZ,
    CONSTRAINT archived_audit_logs_pkey PRIMARY KEY (day, part),
    CONSTRAINT archived_audit_logs_object_key_key UNIQUE (object_key),
    CONSTRAINT archived_audit_logs_manifest_key_key UNIQUE (manifest_key),
    CONSTRAINT archived_audit_logs_part_is_positive CHECK (part > 0),
    CONSTRAINT archived_audit_logs_verified_before_purged CHECK (purged_at IS NULL OR verified_at IS NOT NULL),
    CONSTRAINT archived_audit_logs_purged_before_expired CHECK (expired_at IS NULL OR purged_at IS NOT NULL)
);

CREATE TABLE archived_segments (
    segment_seq BIGINT PRIMARY KEY,
    day DATE NOT NULL,
    part INTEGER NOT NULL,
    CONSTRAINT archived_segments_segment_seq_fkey FOREIGN KEY (segment_seq) REFERENCES ledger_segments (seq),
    CONSTRAINT archived_segments_part_fkey FOREIGN KEY (day, part) REFERENCES archived_audit_logs (day, part)
);
CREATE INDEX idx_archived_segments_day_part ON archived_segments (day, part);

CREATE TABLE audit_purges (
    id BIGSERIAL PRIMARY KEY,
    day DATE NOT NULL,
    parts INTEGER[] NOT NULL,
    entry_count BIGINT NOT NULL,
    hot_bytes BIGINT NOT NULL,
    purged_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX idx_audit_purges_day ON audit_purges (day);

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['ledger_clusters', 'ledger_segments', 'ledger_checkpoints', 'ledger_publications',
                                   'archived_segments', 'audit_purges'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE ON %I FOR EACH ROW '
                       'EXECUTE FUNCTION audit_refuse_change()', guarded || '_append_only', guarded);
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
                       'EXECUTE FUNCTION audit_refuse_change()', guarded || '_no_truncate', guarded);
    END LOOP;
END $$;
CREATE TRIGGER archived_audit_logs_keep BEFORE DELETE ON archived_audit_logs
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER archived_audit_logs_no_truncate BEFORE TRUNCATE ON archived_audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();

-- The columns of the requirement; where an entry was archived is derived, because nobody may update the entry.
CREATE VIEW audit_log_entries AS
    SELECT entry.id, entry.log_entry_id, entry."timestamp", entry.user_id, entry.action, entry.resource_type,
           entry.resource_id, entry.result, entry.metadata, entry.created_at,
           archive.archived_at, archive.archive_location
    FROM audit_logs AS entry
    LEFT JOIN LATERAL (
        SELECT catalogue.archived_at, catalogue.archive_location
        FROM ledger_segments AS segment
        JOIN archived_segments AS archived ON archived.segment_seq = segment.seq
        JOIN archived_audit_logs AS catalogue ON catalogue.day = archived.day AND catalogue.part = archived.part
        WHERE segment.day = (entry."timestamp" AT TIME ZONE 'UTC')::date
          AND segment.tx_from <= entry.tx_id AND entry.tx_id < segment.tx_to
    ) AS archive ON true;

-- Tables are made apart and then attached: ATTACH takes a lock that lets live inserts and reads go on, where
-- CREATE TABLE ... PARTITION OF would stop them.
CREATE FUNCTION audit_create_day(wanted date) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    first_of_month date := date_trunc('month', wanted)::date;
    next_month date := (date_trunc('month', wanted) + interval '1 month')::date;
    month_table text := 'audit_logs_' || to_char(wanted, 'YYYY_MM');
    day_table text := 'audit_logs_' || to_char(wanted, 'YYYY_MM_DD');
BEGIN
    IF wanted < DATE '0001-01-01' OR wanted > DATE '9998-12-31' THEN
        RAISE EXCEPTION 'no partition is made for %: outside the years 1 to 9998', wanted
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('compliance_pipelines.partitions'));
    IF to_regclass(day_table) IS NOT NULL THEN
        RETURN false;
    END IF;
    IF to_regclass(month_table) IS NULL THEN
        EXECUTE format('CREATE TABLE %I (LIKE audit_logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES) '
                       'PARTITION BY RANGE ("timestamp")', month_table);
        EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', month_table || '_default', month_table);
        EXECUTE format('ALTER TABLE audit_logs ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       month_table, first_of_month::timestamptz, next_month::timestamptz);
        EXECUTE format('CREATE TRIGGER audit_logs_no_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
                       'EXECUTE FUNCTION audit_refuse_change()', month_table);
        EXECUTE format('CREATE TRIGGER audit_logs_no_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
                       'EXECUTE FUNCTION audit_refuse_change()', month_table || '_default');
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE audit_logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)',
                   day_table);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   month_table, day_table, wanted::timestamptz, (wanted + 1)::timestamptz);
    EXECUTE format('CREATE TRIGGER audit_logs_no_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
                   'EXECUTE FUNCTION audit_refuse_change()', day_table);
    RETURN true;
END $$;

-- Strays are entries in a default partition. That partition is detached (which drops its triggers), a new one takes
-- its place, and the rows are inserted again as they were: same id, same tx_id, same created_at.
CREATE FUNCTION audit_move_strays(first_day date) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    parent text;
    stray text;
    stray_day date;
    has_strays boolean;
    moved bigint;
    total bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('compliance_pipelines.partitions'));
    FOR stray, parent IN
        SELECT child.relname, owner.relname
        FROM pg_inherits AS link
        JOIN pg_class AS child ON child.oid = link.inhrelid
        JOIN pg_class AS owner ON owner.oid = link.inhparent
        WHERE child.relkind = 'r' AND pg_get_expr(child.relpartbound, child.oid) = 'DEFAULT'
          AND (owner.oid = 'audit_logs'::regclass
               OR owner.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'audit_logs'::regclass))
        ORDER BY child.relname
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE "timestamp" >= %L)', stray, first_day::timestamptz)
            INTO has_strays;
        CONTINUE WHEN NOT has_strays;
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent);
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, stray);
        EXECUTE format('ALTER TABLE %I RENAME TO audit_strays', stray);
        EXECUTE format('CREATE TABLE %I (LIKE audit_logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)',
                       stray);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I DEFAULT', parent, stray);
        EXECUTE format('CREATE TRIGGER audit_logs_no_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
                       'EXECUTE FUNCTION audit_refuse_change()', stray);
        FOR stray_day IN
            SELECT DISTINCT ("timestamp" AT TIME ZONE 'UTC')::date FROM audit_strays
            WHERE "timestamp" >= first_day::timestamptz ORDER BY 1
        LOOP
            PERFORM audit_create_day(stray_day);
        END LOOP;
        INSERT INTO audit_logs SELECT * FROM audit_strays;
        SELECT count(*) INTO moved FROM audit_strays WHERE "timestamp" >= first_day::timestamptz;
        DROP TABLE audit_strays;
        total := total + moved;
    END LOOP;
    RETURN total;
END $$;

-- Only the parent may be read; counting what is in its default partitions would read every day through it.
CREATE FUNCTION audit_strays() RETURNS TABLE (partition text, entries bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    stray text;
BEGIN
    FOR stray IN
        SELECT child.relname FROM pg_partition_tree('audit_logs') AS tree JOIN pg_class AS child ON child.oid = tree.relid
        WHERE tree.isleaf AND pg_get_expr(child.relpartbound, child.oid) = 'DEFAULT'
        ORDER BY child.relname
    LOOP
        RETURN QUERY EXECUTE format('SELECT %L::text, count(*) FROM %I HAVING count(*) > 0', stray, stray);
    END LOOP;
END $$;

-- SHARE mode stops inserts into this one day while its rows are compared; reads go on.
CREATE FUNCTION audit_lock_day(wanted date) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    day_table text := 'audit_logs_' || to_char(wanted, 'YYYY_MM_DD');
BEGIN
    IF to_regclass(day_table) IS NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', day_table);
    RETURN true;
END $$;

-- The last gate in front of the loss of a day: the caller has compared the rows, this compares the counts once more.
CREATE FUNCTION audit_drop_day(wanted date) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    day_table text := 'audit_logs_' || to_char(wanted, 'YYYY_MM_DD');
    hot bigint;
    verified bigint;
BEGIN
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', day_table);
    EXECUTE format('SELECT count(*) FROM %I', day_table) INTO hot;
    SELECT coalesce(sum(entry_count), 0) INTO verified FROM archived_audit_logs
        WHERE day = wanted AND verified_at IS NOT NULL AND purged_at IS NULL AND expired_at IS NULL;
    IF hot <> verified THEN
        RAISE EXCEPTION '% holds % entries but the verified archives of that day hold %: not dropped',
            day_table, hot, verified USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    EXECUTE format('DROP TABLE %I', day_table);
    RETURN hot;
END $$;

CREATE FUNCTION audit_drop_empty_months(before date) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    month_table text;
    filled boolean;
    dropped integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('compliance_pipelines.partitions'));
    FOR month_table IN
        SELECT child.relname FROM pg_inherits AS link JOIN pg_class AS child ON child.oid = link.inhrelid
        WHERE link.inhparent = 'audit_logs'::regclass AND child.relkind = 'p'
          AND child.relname < 'audit_logs_' || to_char(before, 'YYYY_MM')
          AND (SELECT count(*) FROM pg_inherits WHERE inhparent = child.oid) = 1
        ORDER BY child.relname
    LOOP
        EXECUTE format('LOCK TABLE %I IN SHARE MODE', month_table || '_default');
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', month_table) INTO filled;
        CONTINUE WHEN filled;
        EXECUTE format('DROP TABLE %I', month_table);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

CREATE FUNCTION audit_adopt_cluster(tx_offset bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION audit_tx_id() RETURNS bigint LANGUAGE sql STABLE AS '
                   '$f$ SELECT pg_catalog.pg_current_xact_id()::text::bigint + %s $f$', tx_offset);
    EXECUTE format('CREATE OR REPLACE FUNCTION audit_tx_horizon() RETURNS bigint LANGUAGE sql STABLE AS '
                   '$f$ SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint + %s $f$',
                   tx_offset);
    INSERT INTO ledger_clusters (number, system_identifier, tx_offset)
        SELECT (SELECT max(number) + 1 FROM ledger_clusters), system_identifier, audit_adopt_cluster.tx_offset
        FROM pg_control_system();
END $$;

CREATE SCHEMA audit_restored;

-- Privileges. A writer cannot choose id, created_at or tx_id: with a tx_id of its own an entry could slip past sealing.
REVOKE ALL ON FUNCTION audit_create_day(date), audit_move_strays(date), audit_strays(), audit_lock_day(date), audit_drop_day(date),
    audit_drop_empty_months(date), audit_adopt_cluster(bigint) FROM PUBLIC;
GRANT INSERT (log_entry_id, "timestamp", user_id, action, resource_type, resource_id, result, metadata)
    ON audit_logs TO audit_writer, audit_archiver;
GRANT USAGE ON SEQUENCE audit_logs_id_seq TO audit_writer, audit_archiver;
GRANT SELECT ON audit_logs, audit_log_entries, ledger_clusters, ledger_segments, ledger_checkpoints,
    ledger_publications, archived_audit_logs, archived_segments, audit_purges
    TO audit_writer, audit_archiver, audit_reader;
GRANT INSERT ON ledger_segments, ledger_checkpoints, ledger_publications, archived_audit_logs, archived_segments,
    audit_purges TO audit_archiver;
GRANT UPDATE (verified_at, purged_at, expired_at) ON archived_audit_logs TO audit_archiver;
GRANT USAGE ON SEQUENCE audit_purges_id_seq TO audit_archiver;
GRANT EXECUTE ON FUNCTION audit_create_day(date), audit_move_strays(date), audit_lock_day(date), audit_drop_day(date),
    audit_drop_empty_months(date) TO audit_archiver;
GRANT EXECUTE ON FUNCTION audit_strays() TO audit_archiver, audit_reader;
GRANT USAGE, CREATE ON SCHEMA audit_restored TO audit_archiver;
GRANT USAGE ON SCHEMA audit_restored TO audit_reader;
