-- Searches are readings, too. Each leaves two entries: that it began, with all of what was asked, which takes more room
-- than the particulars of the other readings; and that it came to its end, with what was found.
CREATE OR REPLACE FUNCTION audit_record_reading(reading text, subject text DEFAULT '', particulars jsonb DEFAULT '{}')
    RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    kind CONSTANT text := CASE reading
        WHEN 'audit.prove' THEN 'audit_entry'
        WHEN 'audit.verify' THEN 'audit_log'
        WHEN 'audit.status' THEN 'audit_log'
        WHEN 'audit.search' THEN 'audit_search'
        WHEN 'audit.searched' THEN 'audit_search'
        WHEN 'audit.query' THEN 'audit_search'
        WHEN 'audit.queried' THEN 'audit_search'
        WHEN 'conversations.status' THEN 'conversation_set'
        WHEN 'erasure.list' THEN 'erasure_request'
        WHEN 'erasure.show' THEN 'erasure_request'
        WHEN 'hold.list' THEN 'legal_hold'
    END;
    most CONSTANT integer := CASE WHEN reading IN ('audit.search', 'audit.query') THEN 131072 ELSE 2048 END;
    new_id CONSTANT text := replace(reading, '.', '_') || '_' || gen_random_uuid();
BEGIN
    IF kind IS NULL THEN
        RAISE EXCEPTION 'no reading is called %', quote_literal(left(reading, 100))
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF subject IS NULL OR octet_length(subject) > 2048 OR particulars IS NULL
       OR jsonb_typeof(particulars) <> 'object' OR pg_column_size(particulars #> '{}') > most
       OR audit_json_bytes(particulars) > most THEN
        RAISE EXCEPTION 'a reading has a subject of at most 2,048 bytes, and an object of at most % bytes as its particulars', most
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO audit_logs (log_entry_id, "timestamp", user_id, action, resource_type, resource_id, result, metadata)
    VALUES (new_id, clock_timestamp(), 'login:' || session_user, reading, kind, nullif(subject, ''),
            -- A proof is put on record when it was made, and so is the end of a search; everything else before anything
            -- is read.
            CASE WHEN reading IN ('audit.prove', 'audit.searched', 'audit.queried') THEN 'success' ELSE 'started' END,
            particulars || jsonb_build_object('login', session_user));
    RETURN new_id;
END $$;
