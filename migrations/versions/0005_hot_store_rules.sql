-- What AuditEntry refuses, the table refuses: measured on what is read later, which for metadata is its text. Rows that
-- break a rule all the same, because they are older than it or a superuser dropped it, are quarantined by the sealing.

-- A few bytes of JSONB can be gigabytes of text: numbers are written without an exponent. So nothing is printed before
-- it is known to be small. A JSONB of 1 kB holds at most 85 numbers of 147 kB each; a text of a MiB is never more than
-- 6 MiB of JSONB. In between, the numbers are added up one by one, and the first MiB of digits ends it.
CREATE FUNCTION audit_large_json_bytes(value jsonb) RETURNS bigint
    LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    too_many CONSTANT bigint := 1048577;
    digits bigint := 0;
    written bigint;
BEGIN
    IF pg_column_size(value #> '{}') > 8 * 1048576 THEN
        RETURN too_many;
    END IF;
    FOR written IN SELECT octet_length(jsonb_path_query(value, 'strict $.** ? (@.type() == "number")') #>> '{}') LOOP
        digits := digits + written;
        IF digits >= too_many THEN
            RETURN too_many;
        END IF;
    END LOOP;
    RETURN octet_length(value::text);
END $$;

-- Bytes of the text of a JSONB value; of one that is longer than a MiB, some number above that. `#> '{}'` is the value
-- itself, no longer compressed. Plain SQL, so that it is inlined.
CREATE FUNCTION audit_json_bytes(value jsonb) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN value IS NULL THEN 0
                WHEN pg_column_size(value #> '{}') <= 1024 THEN octet_length(value::text)
                ELSE audit_large_json_bytes(value) END
$$;

-- Whether a value lies in more than 128 arrays and objects; each of them takes at least 8 bytes.
CREATE FUNCTION audit_json_is_too_deep(value jsonb) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN value IS NULL OR pg_column_size(value #> '{}') <= 1024 THEN false
                ELSE jsonb_path_exists(value, 'strict $.**{129}') END
$$;

CREATE FUNCTION audit_entry_bytes(log_entry_id text, user_id text, action text, resource_type text, resource_id text,
                                  result text, metadata jsonb)
    RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT octet_length(log_entry_id)::bigint + octet_length(user_id) + octet_length(action) + octet_length(result)
           + coalesce(octet_length(resource_type), 0) + coalesce(octet_length(resource_id), 0)
           + audit_json_bytes(metadata)
$$;

-- A constraint that fails prints the whole row for its message, and cuts it off afterwards. What is too large to be read
-- is too large for that, so that this constraint, the first by its name, raises its error itself.
CREATE FUNCTION audit_refuse_large_entry() RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RAISE EXCEPTION 'new row for relation "audit_logs" violates check constraint "audit_logs_entry_fits"'
        USING ERRCODE = 'check_violation', SCHEMA = 'public', TABLE = 'audit_logs', CONSTRAINT = 'audit_logs_entry_fits',
              DETAIL = 'Its texts, that of metadata as PostgreSQL writes it included, have more than 1,048,576 bytes.';
END $$;

CREATE FUNCTION audit_entry_fits(log_entry_id text, user_id text, action text, resource_type text, resource_id text,
                                 result text, metadata jsonb)
    RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN audit_entry_bytes(log_entry_id, user_id, action, resource_type, resource_id, result, metadata)
                     <= 1048576 THEN true
                ELSE audit_refuse_large_entry() END
$$;

-- The first rule that an entry breaks, in words; NULL where it breaks none. The constraints below are the same rules.
CREATE FUNCTION audit_entry_flaw(log_entry_id text, "timestamp" timestamptz, user_id text, action text,
                                 resource_type text, resource_id text, result text, metadata jsonb,
                                 created_at timestamptz)
    RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN NOT ("timestamp" >= '1000-01-01 00:00:00+00' AND "timestamp" < '9999-01-01 00:00:00+00')
            THEN 'timestamp lies outside the years 1000 to 9998'
        WHEN "timestamp" > created_at + interval '5 minutes' THEN 'timestamp lay in the future'
        WHEN log_entry_id = '' THEN 'log_entry_id is empty'
        WHEN octet_length(log_entry_id) > 2048 THEN 'log_entry_id has more than 2,048 bytes'
        WHEN octet_length(user_id) > 2048 THEN 'user_id has more than 2,048 bytes'
        WHEN octet_length(action) > 2048 THEN 'action has more than 2,048 bytes'
        WHEN audit_json_is_too_deep(metadata) THEN 'a value of metadata lies in more than 128 arrays and objects'
        WHEN audit_entry_bytes(log_entry_id, user_id, action, resource_type, resource_id, result, metadata) > 1048576
            THEN 'its texts, that of metadata included, have more than 1,048,576 bytes'
    END
$$;

ALTER TABLE audit_logs
    DROP CONSTRAINT audit_logs_timestamp_has_a_day,
    ADD CONSTRAINT audit_logs_timestamp_has_four_digit_year CHECK (
        "timestamp" >= '1000-01-01 00:00:00+00' AND "timestamp" < '9999-01-01 00:00:00+00') NOT VALID,
    ADD CONSTRAINT audit_logs_log_entry_id_is_given CHECK (log_entry_id <> '') NOT VALID,
    ADD CONSTRAINT audit_logs_indexed_texts_fit CHECK (
        octet_length(log_entry_id) <= 2048 AND octet_length(user_id) <= 2048 AND octet_length(action) <= 2048) NOT VALID,
    ADD CONSTRAINT audit_logs_metadata_is_not_too_deep CHECK (NOT audit_json_is_too_deep(metadata)) NOT VALID,
    ADD CONSTRAINT audit_logs_entry_fits CHECK (
        audit_entry_fits(log_entry_id, user_id, action, resource_type, resource_id, result, metadata)) NOT VALID;

-- Where there is no row, none breaks a rule. Else the sealing looks at what it has not sealed, and nobody waits for a
-- reading of the whole table here.
DO $$
DECLARE
    rule text;
BEGIN
    IF NOT EXISTS (SELECT FROM audit_logs) THEN
        FOR rule IN SELECT conname FROM pg_constraint
                    WHERE conrelid = 'audit_logs'::regclass AND contype = 'c' AND NOT convalidated LOOP
            EXECUTE format('ALTER TABLE audit_logs VALIDATE CONSTRAINT %I', rule);
        END LOOP;
    END IF;
END $$;

-- Times of the record are those of the moment: a transaction may be long, or may have waited for a lock.
ALTER TABLE audit_logs ALTER COLUMN created_at SET DEFAULT clock_timestamp();
ALTER TABLE ledger_clusters ALTER COLUMN adopted_at SET DEFAULT clock_timestamp();
ALTER TABLE ledger_publications ALTER COLUMN published_at SET DEFAULT clock_timestamp();
ALTER TABLE archived_audit_logs ALTER COLUMN archived_at SET DEFAULT clock_timestamp();
ALTER TABLE audit_purges ALTER COLUMN purged_at SET DEFAULT clock_timestamp();
ALTER TABLE conversation_purges ALTER COLUMN planned_at SET DEFAULT clock_timestamp();
ALTER TABLE conversation_purge_attempts ALTER COLUMN attempted_at SET DEFAULT clock_timestamp();
ALTER TABLE conversation_purged_sets ALTER COLUMN recorded_at SET DEFAULT clock_timestamp();
ALTER TABLE legal_holds ALTER COLUMN added_at SET DEFAULT clock_timestamp();
ALTER TABLE legal_hold_releases ALTER COLUMN released_at SET DEFAULT clock_timestamp();
ALTER TABLE erasure_requests ALTER COLUMN recorded_at SET DEFAULT clock_timestamp();
ALTER TABLE erasure_closures ALTER COLUMN closed_at SET DEFAULT clock_timestamp();

-- Entries that break a rule, and so are in no segment and in no archive. Only the sealing puts them here, through the
-- function below, which judges each row itself: nobody may insert one, and nobody can hide a row that breaks no rule.
CREATE TABLE audit_quarantine (
    id BIGINT NOT NULL,
    "timestamp" TIMESTAMPTZ NOT NULL,
    day DATE NOT NULL GENERATED ALWAYS AS (("timestamp" AT TIME ZONE 'UTC')::date) STORED,
    tx_id BIGINT NOT NULL,
    log_entry_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    quarantined_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT audit_quarantine_pkey PRIMARY KEY (id, "timestamp")
);
CREATE INDEX idx_audit_quarantine_day ON audit_quarantine (day);
CREATE TRIGGER audit_quarantine_append_only BEFORE UPDATE OR DELETE ON audit_quarantine
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER audit_quarantine_no_truncate BEFORE TRUNCATE ON audit_quarantine
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();

-- The rules that no row can break: those whose constraints are there and validated. Judging again costs as much as the
-- inserts did, so it is left out where nothing can be found.
CREATE FUNCTION audit_rules_hold() RETURNS boolean
    LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT count(*) = 6 FROM pg_constraint
    WHERE conrelid = 'audit_logs'::regclass AND contype = 'c' AND convalidated
      AND conname IN ('audit_logs_timestamp_has_four_digit_year', 'audit_logs_timestamp_not_in_future',
                      'audit_logs_log_entry_id_is_given', 'audit_logs_indexed_texts_fit',
                      'audit_logs_metadata_is_not_too_deep', 'audit_logs_entry_fits')
$$;

CREATE FUNCTION audit_quarantine_entries(tx_from bigint, tx_to bigint)
    RETURNS TABLE (day text, entries bigint, reasons text[], ids bigint[])
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF audit_rules_hold() THEN
        RETURN;
    END IF;
    RETURN QUERY
        WITH quarantined AS (
            INSERT INTO audit_quarantine (id, "timestamp", tx_id, log_entry_id, reason)
            SELECT entry.id, entry."timestamp", entry.tx_id, left(entry.log_entry_id, 200), entry.flaw
            FROM (SELECT id, "timestamp", tx_id, log_entry_id,
                         audit_entry_flaw(log_entry_id, "timestamp", user_id, action, resource_type, resource_id,
                                          result, metadata, created_at) AS flaw
                  FROM audit_logs
                  WHERE tx_id >= audit_quarantine_entries.tx_from AND tx_id < audit_quarantine_entries.tx_to) AS entry
            WHERE entry.flaw IS NOT NULL
            ON CONFLICT DO NOTHING
            RETURNING *
        )
        SELECT quarantined.day::text, count(*), array_agg(DISTINCT reason), (array_agg(id ORDER BY id))[1:20]
        FROM quarantined GROUP BY quarantined.day ORDER BY quarantined.day;
END $$;

-- As before, without entries that are in quarantine: nothing seals them.
CREATE OR REPLACE FUNCTION audit_days_written(tx_from bigint, tx_to bigint DEFAULT NULL)
    RETURNS TABLE (day date, entries bigint, oldest timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    leaf regclass;
    condition text := format('tx_id >= %s AND tx_id < %s AND NOT EXISTS (SELECT FROM audit_quarantine AS held '
                             'WHERE held.id = entry.id AND held."timestamp" = entry."timestamp")',
                             tx_from, coalesce(tx_to, 9223372036854775807));
    first timestamptz;
    last timestamptz;
    days date[];
    counts bigint[];
    oldest_written timestamptz[];
BEGIN
    FOR leaf IN SELECT relation::regclass FROM audit_partitions() WHERE is_leaf ORDER BY name LOOP
        days := '{}';
        BEGIN
            -- Grouped by day, PostgreSQL would sort all the rows; all but default partitions hold one day.
            EXECUTE format('SELECT min("timestamp"), max("timestamp"), ARRAY[count(*)], ARRAY[min(created_at)] '
                           'FROM ONLY %s AS entry WHERE %s', leaf, condition)
                INTO first, last, counts, oldest_written;
            IF first::date = last::date THEN
                days := ARRAY[first::date];
            ELSIF first IS NOT NULL THEN
                EXECUTE format('SELECT array_agg(day), array_agg(entries), array_agg(oldest) FROM ('
                               'SELECT "timestamp"::date AS day, count(*) AS entries, min(created_at) AS oldest '
                               'FROM ONLY %s AS entry WHERE %s GROUP BY 1) AS per_day', leaf, condition)
                    INTO days, counts, oldest_written;
            END IF;
            RAISE EXCEPTION USING ERRCODE = 'UNDO1';
        EXCEPTION
            WHEN SQLSTATE 'UNDO1' THEN NULL;
            -- Dropped in this moment: with an entry in it that is not sealed, it would not have been.
            WHEN undefined_table THEN days := '{}';
        END;
        IF cardinality(days) > 0 THEN
            RETURN QUERY SELECT * FROM unnest(days, counts, oldest_written);
        END IF;
    END LOOP;
END $$;

REVOKE ALL ON FUNCTION audit_quarantine_entries(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_quarantine_entries(bigint, bigint) TO audit_archiver;
GRANT SELECT ON audit_quarantine TO audit_writer, audit_archiver, audit_reader;
