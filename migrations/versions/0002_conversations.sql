-- Conversation retention. A plan is frozen in conversation_purges and conversation_purge_work before anything is
-- removed; what was done stands in conversation_purged_threads and conversation_purged_sets, which nobody may change.
-- Ids of threads and users stand in the work list alone, which is emptied when its set is recorded.

CREATE TABLE conversation_purges (
    id BIGSERIAL PRIMARY KEY,
    day DATE NOT NULL,
    judged_at TIMESTAMPTZ NOT NULL,
    cutoff TIMESTAMPTZ NOT NULL,
    selection JSONB NOT NULL,
    policy JSONB NOT NULL,
    keys_seen BIGINT NOT NULL,
    threads_seen BIGINT NOT NULL,
    threads_due BIGINT NOT NULL,
    threads_held BIGINT NOT NULL,
    threads_exempt BIGINT NOT NULL,
    threads_undated BIGINT NOT NULL,
    orphan_keys BIGINT NOT NULL,
    confirmed BIGINT,
    planned_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX idx_conversation_purges_day ON conversation_purges (day);

CREATE TABLE conversation_purge_work (
    purge_id BIGINT NOT NULL,
    number INTEGER NOT NULL,
    thread_hash TEXT,
    user_hashes TEXT[] NOT NULL,
    oldest_activity TIMESTAMPTZ,
    newest_activity TIMESTAMPTZ,
    content BYTEA NOT NULL,
    CONSTRAINT conversation_purge_work_pkey PRIMARY KEY (purge_id, number),
    CONSTRAINT conversation_purge_work_purge_id_fkey FOREIGN KEY (purge_id) REFERENCES conversation_purges (id)
);
-- Compressing what is deleted within minutes costs more than it saves.
ALTER TABLE conversation_purge_work ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE conversation_purge_attempts (
    purge_id BIGINT NOT NULL,
    last_number INTEGER NOT NULL,
    attempted_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT conversation_purge_attempts_pkey PRIMARY KEY (purge_id, last_number),
    CONSTRAINT conversation_purge_attempts_purge_id_fkey FOREIGN KEY (purge_id) REFERENCES conversation_purges (id)
);

CREATE TABLE conversation_purged_threads (
    purge_id BIGINT NOT NULL,
    number INTEGER NOT NULL,
    thread_hash TEXT,
    user_hashes TEXT[] NOT NULL,
    outcome TEXT NOT NULL,
    key_counts JSONB NOT NULL,
    bytes_freed BIGINT,
    oldest_activity TIMESTAMPTZ,
    newest_activity TIMESTAMPTZ,
    removed_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT conversation_purged_threads_pkey PRIMARY KEY (purge_id, number),
    CONSTRAINT conversation_purged_threads_purge_id_fkey FOREIGN KEY (purge_id) REFERENCES conversation_purges (id),
    CONSTRAINT conversation_purged_threads_outcome_is_known CHECK (outcome IN ('deleted', 'moved', 'held', 'gone'))
);
CREATE INDEX idx_conversation_purged_threads_thread_hash ON conversation_purged_threads (thread_hash);

CREATE TABLE conversation_purged_sets (
    purge_id BIGINT PRIMARY KEY,
    day DATE NOT NULL,
    cutoff TIMESTAMPTZ NOT NULL,
    threads_deleted BIGINT NOT NULL,
    threads_moved BIGINT NOT NULL,
    threads_held BIGINT NOT NULL,
    threads_gone BIGINT NOT NULL,
    threads_resurrected BIGINT NOT NULL,
    orphan_keys_left BIGINT NOT NULL,
    key_counts JSONB NOT NULL,
    bytes_freed BIGINT NOT NULL,
    bytes_unknown BIGINT NOT NULL,
    oldest_activity TIMESTAMPTZ,
    newest_activity TIMESTAMPTZ,
    seconds DOUBLE PRECISION NOT NULL,
    log_entry_id TEXT NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT conversation_purged_sets_purge_id_fkey FOREIGN KEY (purge_id) REFERENCES conversation_purges (id)
);
CREATE INDEX idx_conversation_purged_sets_day ON conversation_purged_sets (day);

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['conversation_purges', 'conversation_purged_threads', 'conversation_purged_sets'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE ON %I FOR EACH ROW '
                       'EXECUTE FUNCTION audit_refuse_change()', guarded || '_append_only', guarded);
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
                       'EXECUTE FUNCTION audit_refuse_change()', guarded || '_no_truncate', guarded);
    END LOOP;
END $$;

-- Times and numbers of the record are the database's. An auditor sees hashes, never the work list.
GRANT SELECT ON conversation_purges, conversation_purged_threads, conversation_purged_sets
    TO audit_archiver, audit_reader;
GRANT SELECT, DELETE ON conversation_purge_work, conversation_purge_attempts TO audit_archiver;
GRANT INSERT (day, judged_at, cutoff, selection, policy, keys_seen, threads_seen, threads_due, threads_held,
              threads_exempt, threads_undated, orphan_keys, confirmed) ON conversation_purges TO audit_archiver;
GRANT INSERT ON conversation_purge_work TO audit_archiver;
GRANT INSERT (purge_id, last_number) ON conversation_purge_attempts TO audit_archiver;
GRANT INSERT (purge_id, number, thread_hash, user_hashes, outcome, key_counts, bytes_freed, oldest_activity,
              newest_activity) ON conversation_purged_threads TO audit_archiver;
GRANT INSERT (purge_id, day, cutoff, threads_deleted, threads_moved, threads_held, threads_gone, threads_resurrected,
              orphan_keys_left, key_counts, bytes_freed, bytes_unknown, oldest_activity, newest_activity, seconds,
              log_entry_id) ON conversation_purged_sets TO audit_archiver;
GRANT USAGE ON SEQUENCE conversation_purges_id_seq TO audit_archiver;
