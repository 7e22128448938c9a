-- Retention of sessions and memories. A plan is frozen in session_purges and session_purge_work before anything is
-- removed; what was done stands in session_purged_keys and session_purged_sets, which nobody may change. Names of keys
-- and user ids stand in the work list alone, which is emptied when its set is recorded.

CREATE TABLE session_purges (
    id BIGSERIAL PRIMARY KEY,
    day DATE NOT NULL,
    judged_at TIMESTAMPTZ NOT NULL,
    session_cutoff TIMESTAMPTZ,
    memory_cutoff TIMESTAMPTZ,
    policy JSONB NOT NULL,
    sessions_seen BIGINT NOT NULL,
    memories_seen BIGINT NOT NULL,
    keys_unreadable BIGINT NOT NULL,
    keys_due BIGINT NOT NULL,
    keys_held BIGINT NOT NULL,
    keys_exempt BIGINT NOT NULL,
    keys_undated BIGINT NOT NULL,
    confirmed BIGINT,
    planned_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX idx_session_purges_day ON session_purges (day);

CREATE TABLE session_purge_work (
    purge_id BIGINT NOT NULL,
    number INTEGER NOT NULL,
    place TEXT NOT NULL,
    kind TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    user_hash TEXT,
    oldest_use TIMESTAMPTZ,
    newest_use TIMESTAMPTZ,
    content BYTEA NOT NULL,
    CONSTRAINT session_purge_work_pkey PRIMARY KEY (purge_id, number),
    CONSTRAINT session_purge_work_purge_id_fkey FOREIGN KEY (purge_id) REFERENCES session_purges (id)
);

CREATE TABLE session_purge_attempts (
    purge_id BIGINT NOT NULL,
    last_number INTEGER NOT NULL,
    attempted_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT session_purge_attempts_pkey PRIMARY KEY (purge_id, last_number),
    CONSTRAINT session_purge_attempts_purge_id_fkey FOREIGN KEY (purge_id) REFERENCES session_purges (id)
);

CREATE TABLE session_purged_keys (
    purge_id BIGINT NOT NULL,
    number INTEGER NOT NULL,
    place TEXT NOT NULL,
    kind TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    user_hash TEXT,
    oldest_use TIMESTAMPTZ,
    newest_use TIMESTAMPTZ,
    outcome TEXT NOT NULL,
    bytes_freed BIGINT,
    removed_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT session_purged_keys_pkey PRIMARY KEY (purge_id, number),
    CONSTRAINT session_purged_keys_purge_id_fkey FOREIGN KEY (purge_id) REFERENCES session_purges (id),
    CONSTRAINT session_purged_keys_outcome_is_known
        CHECK (outcome IN ('deleted', 'moved', 'held', 'gone', 'left'))
);
CREATE INDEX idx_session_purged_keys_key_hash ON session_purged_keys (key_hash);

CREATE TABLE session_purged_sets (
    purge_id BIGINT PRIMARY KEY,
    day DATE NOT NULL,
    session_cutoff TIMESTAMPTZ,
    memory_cutoff TIMESTAMPTZ,
    keys_deleted BIGINT NOT NULL,
    keys_moved BIGINT NOT NULL,
    keys_held BIGINT NOT NULL,
    keys_gone BIGINT NOT NULL,
    keys_left BIGINT NOT NULL,
    keys_back BIGINT NOT NULL,
    key_counts JSONB NOT NULL,
    bytes_freed BIGINT NOT NULL,
    oldest_use TIMESTAMPTZ,
    newest_use TIMESTAMPTZ,
    seconds DOUBLE PRECISION NOT NULL,
    log_entry_id TEXT NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT session_purged_sets_purge_id_fkey FOREIGN KEY (purge_id) REFERENCES session_purges (id)
);
CREATE INDEX idx_session_purged_sets_day ON session_purged_sets (day);

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['session_purges', 'session_purged_keys', 'session_purged_sets'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE ON %I FOR EACH ROW '
                       'EXECUTE FUNCTION audit_refuse_change()', guarded || '_append_only', guarded);
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
                       'EXECUTE FUNCTION audit_refuse_change()', guarded || '_no_truncate', guarded);
    END LOOP;
END $$;

-- Times and numbers of the record are the database's. An auditor sees hashes, never the work list.
GRANT SELECT ON session_purges, session_purged_keys, session_purged_sets TO audit_archiver, audit_reader;
GRANT SELECT, DELETE ON session_purge_work, session_purge_attempts TO audit_archiver;
GRANT INSERT (day, judged_at, session_cutoff, memory_cutoff, policy, sessions_seen, memories_seen, keys_unreadable,
              keys_due, keys_held, keys_exempt, keys_undated, confirmed) ON session_purges TO audit_archiver;
GRANT INSERT ON session_purge_work TO audit_archiver;
GRANT INSERT (purge_id, last_number) ON session_purge_attempts TO audit_archiver;
GRANT INSERT (purge_id, number, place, kind, key_hash, user_hash, oldest_use, newest_use, outcome, bytes_freed)
    ON session_purged_keys TO audit_archiver;
GRANT INSERT (purge_id, day, session_cutoff, memory_cutoff, keys_deleted, keys_moved, keys_held, keys_gone, keys_left,
              keys_back, key_counts, bytes_freed, oldest_use, newest_use, seconds, log_entry_id)
    ON session_purged_sets TO audit_archiver;
GRANT USAGE ON SEQUENCE session_purges_id_seq TO audit_archiver;
