-- The canonical bytes of an entry, its leaf hash and the bytes of a segment record, as docs/ledger.md defines them, in
-- PostgreSQL's own functions: an implementation that shares nothing with the package.

CREATE SCHEMA stranger;

CREATE FUNCTION stranger.with_length(value text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN value IS NULL THEN '-'::bytea
                ELSE convert_to(octet_length(convert_to(value, 'UTF8')) || ':', 'UTF8') || convert_to(value, 'UTF8') END
$$;

CREATE FUNCTION stranger.microseconds(moment timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT (extract(epoch FROM moment) * 1000000)::numeric(30, 0)::text
$$;

CREATE FUNCTION stranger.canonical_bytes(entry audit_logs) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT stranger.with_length(entry.id::text)
        || stranger.with_length(entry.log_entry_id)
        || stranger.with_length(stranger.microseconds(entry."timestamp"))
        || stranger.with_length(entry.user_id)
        || stranger.with_length(entry.action)
        || stranger.with_length(entry.resource_type)
        || stranger.with_length(entry.resource_id)
        || stranger.with_length(entry.result)
        || stranger.with_length(entry.metadata::text)
        || stranger.with_length(stranger.microseconds(entry.created_at))
        || stranger.with_length(entry.tx_id::text)
$$;

CREATE FUNCTION stranger.leaf_hash(entry audit_logs) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256('\x00'::bytea || stranger.canonical_bytes(entry))
$$;

-- The bytes of a segment record.
CREATE FUNCTION stranger.record_bytes(segment ledger_segments) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT '\x01'::bytea || int8send(segment.seq) || int4send(segment.day - date '1970-01-01')
        || int8send(segment.tx_from) || int8send(segment.tx_to) || int8send(segment.first_id)
        || int8send(segment.last_id) || int8send(segment.entry_count) || segment.root
        || int8send(stranger.microseconds(segment.sealed_at)::bigint)
$$;
