-- Which environment this database is, and which cold store it archives into. Each is one row, written by a command of a
-- person (`compliance store init`, `compliance conversations bind`), and nobody may change it.

CREATE TABLE audit_environment (
    number INTEGER PRIMARY KEY DEFAULT 1,
    environment_id UUID NOT NULL DEFAULT gen_random_uuid(),
    made_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    made_by TEXT NOT NULL DEFAULT session_user,
    CONSTRAINT audit_environment_is_one CHECK (number = 1)
);

CREATE TABLE audit_store (
    number INTEGER PRIMARY KEY DEFAULT 1,
    store_id UUID NOT NULL,
    ledger_key TEXT NOT NULL,
    location TEXT NOT NULL,
    bound_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    bound_by TEXT NOT NULL DEFAULT session_user,
    CONSTRAINT audit_store_is_one CHECK (number = 1)
);

-- A verification counts for the store that was read.
ALTER TABLE archived_audit_logs ADD COLUMN verified_store UUID;

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['audit_environment', 'audit_store'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE ON %I FOR EACH ROW '
                       'EXECUTE FUNCTION audit_refuse_change()', guarded || '_append_only', guarded);
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
                       'EXECUTE FUNCTION audit_refuse_change()', guarded || '_no_truncate', guarded);
    END LOOP;
END $$;

-- Whoever binds chooses neither a time nor a name; the environment's id is the database's choice alone.
GRANT SELECT ON audit_environment, audit_store TO audit_writer, audit_archiver, audit_reader;
GRANT INSERT (number) ON audit_environment TO audit_archiver;
GRANT INSERT (store_id, ledger_key, location) ON audit_store TO audit_archiver;
GRANT UPDATE (verified_store) ON archived_audit_logs TO audit_archiver;
