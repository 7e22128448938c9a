-- What the cold store itself keeps by our order, object by object: legal holds of the store, set because a hold of
-- legal_holds touches the part. A row is there before the order is given, and goes after it was taken back: whatever is
-- held in the store and has no row here was held by somebody else, and nobody here lets go of it.
CREATE TABLE archive_store_holds (
    key TEXT PRIMARY KEY,
    wanted_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    set_at TIMESTAMPTZ
);

-- Whether an archived part has entries by or about somebody who is held, as reading it showed. Neither holds nor parts change,
-- so that each part is read once for each hold. What was not read yet is held.
CREATE TABLE archive_hold_looks (
    hold_id BIGINT NOT NULL,
    object_key TEXT NOT NULL,
    touched BOOLEAN NOT NULL,
    looked_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT archive_hold_looks_pkey PRIMARY KEY (hold_id, object_key),
    CONSTRAINT archive_hold_looks_hold_id_fkey FOREIGN KEY (hold_id) REFERENCES legal_holds (id),
    CONSTRAINT archive_hold_looks_object_key_fkey FOREIGN KEY (object_key) REFERENCES archived_audit_logs (object_key)
);
CREATE TRIGGER archive_hold_looks_append_only BEFORE UPDATE OR DELETE ON archive_hold_looks
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER archive_hold_looks_no_truncate BEFORE TRUNCATE ON archive_hold_looks
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();

-- Which days somebody who is held was active on says more than auditors may see of holds.
GRANT SELECT, INSERT (key), UPDATE (set_at), DELETE ON archive_store_holds TO audit_archiver;
GRANT SELECT, INSERT (hold_id, object_key, touched) ON archive_hold_looks TO audit_archiver;
