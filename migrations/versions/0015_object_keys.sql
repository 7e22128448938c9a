-- The keys of encrypted objects in the cold store, wrapped: the same as its records under audit-keys/, so that neither
-- the loss of this database nor that of the records loses a key. A row outlives its key, and says when it was destroyed.
CREATE TABLE object_keys (
    object_key TEXT COLLATE "C" NOT NULL,
    key_id TEXT NOT NULL,
    key_encryption_key TEXT NOT NULL,
    wrapped BYTEA,
    wrapped_at TIMESTAMPTZ NOT NULL,
    destroyed_at TIMESTAMPTZ,
    destruction_reason TEXT,
    CONSTRAINT object_keys_pkey PRIMARY KEY (object_key),
    CONSTRAINT object_keys_destroyed_is_gone CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL)),
    CONSTRAINT object_keys_destroyed_for_a_reason CHECK ((destroyed_at IS NULL) = (destruction_reason IS NULL))
);

CREATE TRIGGER object_keys_keep BEFORE DELETE ON object_keys
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER object_keys_no_truncate BEFORE TRUNCATE ON object_keys
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();

GRANT SELECT ON object_keys TO audit_archiver, audit_reader;
GRANT INSERT ON object_keys TO audit_archiver;
GRANT UPDATE (key_encryption_key, wrapped, wrapped_at, destroyed_at, destruction_reason) ON object_keys
    TO audit_archiver;
