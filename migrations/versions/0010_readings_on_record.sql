-- What an auditor reads is on record, and an auditor may append nothing else. The function decides what an entry of its
-- says: who (the login of the session, which SET ROLE does not change), when, under which id, with which result. The
-- caller chooses one of the known readings, and says what of and with which particulars.
CREATE FUNCTION audit_record_reading(reading text, subject text DEFAULT '', particulars jsonb DEFAULT '{}')
    RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    kind CONSTANT text := CASE reading
        WHEN 'audit.prove' THEN 'audit_entry'
        WHEN 'audit.verify' THEN 'audit_log'
        WHEN 'audit.status' THEN 'audit_log'
        WHEN 'conversations.status' THEN 'conversation_set'
        WHEN 'erasure.list' THEN 'erasure_request'
        WHEN 'erasure.show' THEN 'erasure_request'
        WHEN 'hold.list' THEN 'legal_hold'
    END;
    new_id CONSTANT text := replace(reading, '.', '_') || '_' || gen_random_uuid();
BEGIN
    IF kind IS NULL THEN
        RAISE EXCEPTION 'no reading is called %', quote_literal(left(reading, 100))
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF subject IS NULL OR octet_length(subject) > 2048 OR particulars IS NULL
       OR jsonb_typeof(particulars) <> 'object' OR pg_column_size(particulars #> '{}') > 2048 OR audit_json_bytes(particulars) > 2048 THEN
        RAISE EXCEPTION 'a reading has a subject of at most 2,048 bytes, and an object of as many at most as its particulars'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO audit_logs (log_entry_id, "timestamp", user_id, action, resource_type, resource_id, result, metadata)
    VALUES (new_id, clock_timestamp(), 'login:' || session_user, reading, kind, nullif(subject, ''),
            -- A proof is put on record when it was made, everything else before anything is read.
            CASE reading WHEN 'audit.prove' THEN 'success' ELSE 'started' END,
            particulars || jsonb_build_object('login', session_user));
    RETURN new_id;
END $$;

REVOKE ALL ON FUNCTION audit_record_reading(text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_record_reading(text, text, jsonb) TO audit_reader;
