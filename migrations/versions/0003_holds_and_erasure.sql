-- Legal holds and erasure requests. Both are records that nobody may change: a release, an attempt and a closure are
-- rows of their own, and every state is derived from them.

CREATE TABLE legal_holds (
    id BIGSERIAL PRIMARY KEY,
    scope TEXT NOT NULL,
    subject TEXT,
    first_day DATE,
    last_day DATE,
    reason TEXT NOT NULL,
    author TEXT NOT NULL,
    added_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT legal_holds_scope_is_known CHECK (scope IN ('user', 'thread', 'days', 'everything')),
    CONSTRAINT legal_holds_subject_of_scope CHECK ((scope IN ('user', 'thread')) = (subject IS NOT NULL)),
    CONSTRAINT legal_holds_days_of_scope CHECK (
        CASE WHEN scope = 'days' THEN first_day IS NOT NULL AND last_day IS NOT NULL AND isfinite(first_day)
                                      AND isfinite(last_day) AND first_day <= last_day
             ELSE first_day IS NULL AND last_day IS NULL END),
    CONSTRAINT legal_holds_reason_is_given CHECK (btrim(reason) <> ''),
    CONSTRAINT legal_holds_author_is_given CHECK (btrim(author) <> '')
);

CREATE TABLE legal_hold_releases (
    hold_id BIGINT PRIMARY KEY,
    reason TEXT NOT NULL,
    author TEXT NOT NULL,
    released_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT legal_hold_releases_hold_id_fkey FOREIGN KEY (hold_id) REFERENCES legal_holds (id),
    CONSTRAINT legal_hold_releases_reason_is_given CHECK (btrim(reason) <> ''),
    CONSTRAINT legal_hold_releases_author_is_given CHECK (btrim(author) <> '')
);

CREATE TABLE erasure_requests (
    id BIGSERIAL PRIMARY KEY,
    user_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    received_at TIMESTAMPTZ NOT NULL,
    deadline DATE NOT NULL,
    replay_of BIGINT,
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT erasure_requests_replay_of_fkey FOREIGN KEY (replay_of) REFERENCES erasure_requests (id),
    CONSTRAINT erasure_requests_user_id_is_given CHECK (user_id <> ''),
    CONSTRAINT erasure_requests_reason_is_given CHECK (btrim(reason) <> ''),
    CONSTRAINT erasure_requests_requested_by_is_given CHECK (btrim(requested_by) <> ''),
    CONSTRAINT erasure_requests_times_are_finite CHECK (isfinite(received_at) AND isfinite(deadline))
);
CREATE INDEX idx_erasure_requests_user_id ON erasure_requests (user_id);

CREATE TABLE erasure_events (
    id BIGSERIAL PRIMARY KEY,
    request_id BIGINT NOT NULL,
    attempt INTEGER NOT NULL,
    kind TEXT NOT NULL,
    target TEXT,
    detail JSONB NOT NULL DEFAULT '{}',
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT erasure_events_request_id_fkey FOREIGN KEY (request_id) REFERENCES erasure_requests (id),
    CONSTRAINT erasure_events_attempt_is_positive CHECK (attempt > 0),
    CONSTRAINT erasure_events_kind_is_known CHECK (
        kind IN ('started', 'found', 'deleted', 'held', 'failed', 'verified', 'ended')),
    CONSTRAINT erasure_events_target_of_kind CHECK (
        CASE WHEN kind IN ('started', 'ended') THEN target IS NULL
             WHEN kind = 'held' THEN true
             ELSE target IS NOT NULL END)
);
CREATE INDEX idx_erasure_events_request_id ON erasure_events (request_id, id);

CREATE TABLE erasure_closures (
    request_id BIGINT PRIMARY KEY,
    result TEXT NOT NULL,
    log_entry_id TEXT NOT NULL,
    entry_timestamp TIMESTAMPTZ NOT NULL,
    statement TEXT NOT NULL,
    closed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT erasure_closures_request_id_fkey FOREIGN KEY (request_id) REFERENCES erasure_requests (id),
    CONSTRAINT erasure_closures_log_entry_id_key UNIQUE (log_entry_id),
    CONSTRAINT erasure_closures_result_is_known CHECK (result IN ('success', 'partial'))
);

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['legal_holds', 'legal_hold_releases', 'erasure_requests', 'erasure_events',
                                   'erasure_closures'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE ON %I FOR EACH ROW '
                       'EXECUTE FUNCTION audit_refuse_change()', guarded || '_append_only', guarded);
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
                       'EXECUTE FUNCTION audit_refuse_change()', guarded || '_no_truncate', guarded);
    END LOOP;
END $$;

-- Whoever holds and erases cannot choose a time: ids and times of the record are the database's. Who was erased is for
-- the pipelines alone: an auditor who sees pseudonyms in the audit log must not read the names here.
GRANT SELECT ON legal_holds, legal_hold_releases TO audit_archiver;
GRANT SELECT ON erasure_requests, erasure_events, erasure_closures TO audit_archiver;
GRANT SELECT (id, scope, first_day, last_day, reason, author, added_at) ON legal_holds TO audit_reader;
GRANT SELECT ON legal_hold_releases TO audit_reader;
GRANT SELECT (id, reason, requested_by, received_at, deadline, replay_of, recorded_at) ON erasure_requests
    TO audit_reader;
GRANT SELECT (id, request_id, attempt, kind, target, recorded_at) ON erasure_events TO audit_reader;
GRANT SELECT (request_id, result, log_entry_id, entry_timestamp, closed_at) ON erasure_closures TO audit_reader;
GRANT INSERT (scope, subject, first_day, last_day, reason, author) ON legal_holds TO audit_archiver;
GRANT INSERT (hold_id, reason, author) ON legal_hold_releases TO audit_archiver;
GRANT INSERT (user_id, reason, requested_by, received_at, deadline, replay_of) ON erasure_requests TO audit_archiver;
GRANT INSERT (request_id, attempt, kind, target, detail) ON erasure_events TO audit_archiver;
GRANT INSERT (request_id, result, log_entry_id, entry_timestamp, statement) ON erasure_closures TO audit_archiver;
GRANT USAGE ON SEQUENCE legal_holds_id_seq, erasure_requests_id_seq, erasure_events_id_seq TO audit_archiver;
