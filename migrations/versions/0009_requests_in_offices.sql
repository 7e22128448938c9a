-- What happens to an erasure request besides attempts: it is asked for again, extended, corrected, withdrawn, refused.
-- Each is an event; the last two end it with a closure whose entry is that of the decision.

ALTER TABLE erasure_events
    DROP CONSTRAINT erasure_events_kind_is_known,
    DROP CONSTRAINT erasure_events_attempt_is_positive,
    DROP CONSTRAINT erasure_events_target_of_kind,
    ADD CONSTRAINT erasure_events_kind_is_known CHECK (
        kind IN ('started', 'found', 'deleted', 'held', 'failed', 'verified', 'ended', 'identified', 'noted',
                 'asked_again', 'extended', 'corrected', 'withdrawn', 'refused')),
    ADD CONSTRAINT erasure_events_attempt_of_kind CHECK (
        attempt > 0 OR attempt = 0 AND kind IN ('identified', 'noted', 'asked_again', 'extended', 'corrected',
                                                'withdrawn', 'refused')),
    ADD CONSTRAINT erasure_events_target_of_kind CHECK (
        CASE WHEN kind = 'held' THEN true
             ELSE (target IS NOT NULL) = (kind IN ('found', 'deleted', 'failed', 'verified')) END);
-- Article 12(3) knows one extension.
CREATE UNIQUE INDEX erasure_events_extended_once ON erasure_events (request_id) WHERE kind = 'extended';

ALTER TABLE erasure_closures
    DROP CONSTRAINT erasure_closures_result_is_known,
    ADD CONSTRAINT erasure_closures_result_is_known CHECK (result IN ('success', 'partial', 'withdrawn', 'refused'));
