-- Which values the row groups of archived parts have, as keyed filters. Everything here can be made again from the cold
-- store; it goes with the key of the object, or with the object.
CREATE TABLE archive_search_filters (
    object_key TEXT COLLATE "C" NOT NULL,
    column_name TEXT NOT NULL,
    row_group INTEGER NOT NULL,
    row_groups INTEGER NOT NULL,
    distinct_values INTEGER NOT NULL,
    bits BYTEA NOT NULL,
    mac BYTEA NOT NULL,
    CONSTRAINT archive_search_filters_pkey PRIMARY KEY (object_key, column_name, row_group)
);
-- Bits of a filter are as good as random: compressing them costs time and gains nothing.
ALTER TABLE archive_search_filters ALTER COLUMN bits SET STORAGE EXTERNAL;

GRANT SELECT ON archive_search_filters TO audit_archiver, audit_reader;
GRANT INSERT, DELETE ON archive_search_filters TO audit_archiver;
