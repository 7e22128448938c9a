-- A dump is restored with an empty search_path: there the rules of the audit log found no function that they did not
-- name with its schema, and pg_restore ended at the first partition. The bodies are those of before, and are inlined as
-- before: a SET of the function's own would have prevented that.
CREATE OR REPLACE FUNCTION audit_json_bytes(value jsonb) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN value IS NULL THEN 0
                WHEN pg_column_size(value #> '{}') <= 1024 THEN octet_length(value::text)
                ELSE public.audit_large_json_bytes(value) END
$$;

CREATE OR REPLACE FUNCTION audit_entry_bytes(log_entry_id text, user_id text, action text, resource_type text,
                                             resource_id text, result text, metadata jsonb)
    RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT octet_length(log_entry_id)::bigint + octet_length(user_id) + octet_length(action) + octet_length(result)
           + coalesce(octet_length(resource_type), 0) + coalesce(octet_length(resource_id), 0)
           + public.audit_json_bytes(metadata)
$$;

CREATE OR REPLACE FUNCTION audit_entry_fits(log_entry_id text, user_id text, action text, resource_type text,
                                            resource_id text, result text, metadata jsonb)
    RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN public.audit_entry_bytes(log_entry_id, user_id, action, resource_type, resource_id, result,
                                              metadata) <= 1048576 THEN true
                ELSE public.audit_refuse_large_entry() END
$$;

CREATE OR REPLACE FUNCTION audit_entry_flaw(log_entry_id text, "timestamp" timestamptz, user_id text, action text,
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
        WHEN public.audit_json_is_too_deep(metadata) THEN 'a value of metadata lies in more than 128 arrays and objects'
        WHEN public.audit_entry_bytes(log_entry_id, user_id, action, resource_type, resource_id, result, metadata)
             > 1048576
            THEN 'its texts, that of metadata included, have more than 1,048,576 bytes'
        WHEN commitment IS NOT NULL THEN 'it has a commitment, as if it were blinded'
    END
$$;
