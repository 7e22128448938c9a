-- What an entry's leaf says of the columns that tell whose data it is stands under a nonce of the entry's own, which the
-- database gives it: no writer may choose it, because whoever knows it can test guesses of what was blinded.

ALTER TABLE audit_logs
    ADD COLUMN nonce UUID NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN commitment BYTEA;

-- Blinding will put a commitment into the place of private columns and nonce. Until then an entry that has one was
-- written by a superuser, and is treated as one that breaks a rule.
ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_is_not_blinded CHECK (commitment IS NULL);

DROP FUNCTION audit_entry_flaw(text, timestamptz, text, text, text, text, text, jsonb, timestamptz);
CREATE FUNCTION audit_entry_flaw(log_entry_id text, "timestamp" timestamptz, user_id text, action text,
                                 resource_type text, resource_id text, result text, metadata jsonb,
                                 created_at timestamptz, commitment bytea)
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
        WHEN commitment IS NOT NULL THEN 'it has a commitment, as if it were blinded'
    END
$$;

CREATE OR REPLACE FUNCTION audit_rules_hold() RETURNS boolean
    LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT count(*) = 7 FROM pg_constraint
    WHERE conrelid = 'audit_logs'::regclass AND contype = 'c' AND convalidated
      AND conname IN ('audit_logs_timestamp_has_four_digit_year', 'audit_logs_timestamp_not_in_future',
                      'audit_logs_log_entry_id_is_given', 'audit_logs_indexed_texts_fit',
                      'audit_logs_metadata_is_not_too_deep', 'audit_logs_entry_fits', 'audit_logs_is_not_blinded')
$$;

CREATE OR REPLACE FUNCTION audit_quarantine_entries(tx_from bigint, tx_to bigint)
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
                                          result, metadata, created_at, commitment) AS flaw
                  FROM audit_logs
                  WHERE tx_id >= audit_quarantine_entries.tx_from AND tx_id < audit_quarantine_entries.tx_to) AS entry
            WHERE entry.flaw IS NOT NULL
            ON CONFLICT DO NOTHING
            RETURNING *
        )
        SELECT quarantined.day::text, count(*), array_agg(DISTINCT reason), (array_agg(id ORDER BY id))[1:20]
        FROM quarantined GROUP BY quarantined.day ORDER BY quarantined.day;
END $$;
