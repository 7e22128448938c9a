-- Which Redis a plan of conversations is about, by the id that it carries, and which of its applications, by their prefixes.
-- Plans before this revision do not say.

ALTER TABLE conversation_purges
    ADD COLUMN store_id UUID,
    ADD COLUMN checkpoint_prefix TEXT,
    ADD COLUMN write_prefix TEXT;
GRANT INSERT (store_id, checkpoint_prefix, write_prefix) ON conversation_purges TO audit_archiver;

-- A plan that a person gave up: what it had set aside was put back, and the rest was never begun.
ALTER TABLE conversation_purged_threads DROP CONSTRAINT conversation_purged_threads_outcome_is_known;
ALTER TABLE conversation_purged_threads ADD CONSTRAINT conversation_purged_threads_outcome_is_known
    CHECK (outcome IN ('deleted', 'moved', 'held', 'gone', 'abandoned'));
ALTER TABLE conversation_purged_sets ADD COLUMN threads_abandoned BIGINT NOT NULL DEFAULT 0;
GRANT INSERT (threads_abandoned) ON conversation_purged_sets TO audit_archiver;
