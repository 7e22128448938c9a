-- The bytes of an entry and its leaf hash, and the bytes of a segment record, as docs/ledger.md defines them, in
-- PostgreSQL's own functions: an implementation that shares nothing with the package.

CREATE SCHEMA stranger;

CREATE FUNCTION stranger.microseconds(moment timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT (extract(epoch FROM moment) * 1000000)::numeric(30, 0)::text
$$;

-- NULL has the length FFFFFFFF.
CREATE FUNCTION stranger.length(value text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT int4send(coalesce(octet_length(convert_to(value, 'UTF8')), -1))
$$;

CREATE FUNCTION stranger.utf8(value text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(convert_to(value, 'UTF8'), '')
$$;

CREATE FUNCTION stranger.public_bytes(entry audit_logs) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT int8send(entry.id)
        || int8send(stranger.microseconds(entry."timestamp")::bigint)
        || int8send(stranger.microseconds(entry.created_at)::bigint)
        || int8send(entry.tx_id)
        || stranger.length(entry.log_entry_id)
        || stranger.length(entry.action)
        || stranger.length(entry.resource_type)
        || stranger.length(entry.result)
        || stranger.utf8(entry.log_entry_id)
        || stranger.utf8(entry.action)
        || stranger.utf8(entry.resource_type)
        || stranger.utf8(entry.result)
$$;

CREATE FUNCTION stranger.private_bytes(entry audit_logs) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT stranger.length(entry.user_id)
        || stranger.length(entry.resource_id)
        || stranger.length(entry.metadata::text)
        || stranger.utf8(entry.user_id)
        || stranger.utf8(entry.resource_id)
        || stranger.utf8(entry.metadata::text)
$$;

CREATE FUNCTION stranger.leaf_hash(entry audit_logs) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256('\x00'::bytea || stranger.public_bytes(entry)
                  || sha256('\x02'::bytea || uuid_send(entry.nonce) || stranger.private_bytes(entry)))
$$;

-- The bytes of a segment record.
CREATE FUNCTION stranger.record_bytes(segment ledger_segments) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT '\x01'::bytea || int8send(segment.seq) || int4send(segment.day - date '1970-01-01')
        || int8send(segment.tx_from) || int8send(segment.tx_to) || int8send(segment.first_id)
        || int8send(segment.last_id) || int8send(segment.entry_count) || segment.root
        || int8send(stranger.microseconds(segment.sealed_at)::bigint)
$$;
