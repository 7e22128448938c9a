-- The number and the life of partitions are bounded. A day has a table of its own where live traffic or a large import
-- is expected; the entries of every other day stay in a default partition for good, and leave it by DELETE.
--
-- Every function here that makes or drops a partition is one small step, to be called in a transaction of its own with a
-- short lock_timeout. None touches more relations than it names, so that they work in a database with thousands of them.

-- Deleting is refused to everybody but audit_remove_day, which names the day that it removes for as long as it deletes.
-- The setting alone opens nothing: whoever sets it must be audit_owner as well, as whom nobody logs in.
CREATE OR REPLACE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_user = 'audit_owner'
       AND coalesce(current_setting('compliance_pipelines.removed_day', true), '') <> ''
       AND TG_NAME = 'audit_logs_append_only' THEN
        IF (OLD."timestamp" AT TIME ZONE 'UTC')::date
           = current_setting('compliance_pipelines.removed_day')::date THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION '% on % refused: the audit trail is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

-- What looks and then drops must see what was committed while it waited for its lock; an older snapshot would not.
CREATE FUNCTION audit_require_read_committed() RETURNS void LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'nothing is dropped under the isolation level %: entries that are committed meanwhile would be lost',
            current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state', HINT = 'Begin the transaction as READ COMMITTED.';
    END IF;
END $$;

-- From the catalogue, because pg_partition_tree() locks every partition until the transaction ends.
CREATE FUNCTION audit_partitions() RETURNS TABLE (relation oid, parent oid, name text, is_leaf boolean, is_default boolean)
    LANGUAGE sql STABLE SET search_path = public, pg_temp
BEGIN ATOMIC
    WITH RECURSIVE tree AS (
        SELECT 'audit_logs'::regclass::oid AS relation, NULL::oid AS parent
        UNION ALL
        SELECT link.inhrelid, link.inhparent FROM tree JOIN pg_inherits AS link ON link.inhparent = tree.relation
    )
    SELECT tree.relation, tree.parent, class.relname::text, class.relkind <> 'p',
           coalesce(pg_get_expr(class.relpartbound, class.oid) = 'DEFAULT', false)
    FROM tree JOIN pg_class AS class ON class.oid = tree.relation;
END;

-- Asked of the table and not of to_regclass(), whose cache may be older than the lock that was just waited for.
CREATE FUNCTION audit_table(wanted text) RETURNS oid LANGUAGE sql STABLE SET search_path = public, pg_temp
    RETURN (SELECT oid FROM pg_class WHERE relname = wanted AND relnamespace = 'public'::regnamespace);

-- A statement over all partitions locks each of them with its indexes. Four such statements must fit into the lock table,
-- which all sessions of the server share.
CREATE FUNCTION audit_lock_room()
    RETURNS TABLE (relations bigint, locks_per_relation bigint, most_relations bigint, lock_slots bigint)
    LANGUAGE sql STABLE SET search_path = public, pg_temp
BEGIN ATOMIC
    SELECT counted.relations, per.locks, slots.number / 4 / per.locks, slots.number
    FROM (SELECT count(*) AS relations FROM audit_partitions()) AS counted,
         (SELECT 1 + count(*) AS locks FROM pg_index WHERE indrelid = 'audit_logs'::regclass) AS per,
         (SELECT current_setting('max_locks_per_transaction')::bigint
                 * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint)
                 AS number) AS slots;
END;

CREATE FUNCTION audit_partition_start(partition oid) RETURNS timestamptz
    LANGUAGE sql STABLE SET search_path = public, pg_temp SET timezone = 'UTC'
BEGIN ATOMIC
    SELECT substring(pg_get_expr(relpartbound, oid) FROM 'FROM \(''([^'']+)''\)')::timestamptz
    FROM pg_class WHERE oid = partition;
END;

-- Which default partition PostgreSQL must find empty of what range before the day gets its table: the month's default
-- and the day; or the table's default and the month, which then begins after the last day that has entries there.
CREATE FUNCTION audit_range_of_new_day(wanted date, OUT default_partition text, OUT starts date, OUT ends date)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    month_table text := 'audit_logs_' || to_char(wanted, 'YYYY_MM');
    latest timestamptz;
BEGIN
    IF audit_table(month_table) IS NOT NULL THEN
        IF wanted >= audit_partition_start(audit_table(month_table))::date THEN
            default_partition := month_table || '_default';
            starts := wanted;
            ends := wanted + 1;
        END IF;
        RETURN;
    END IF;
    starts := date_trunc('month', wanted)::date;
    ends := (date_trunc('month', wanted) + interval '1 month')::date;
    SELECT max("timestamp") INTO latest FROM ONLY audit_logs_default
        WHERE "timestamp" >= starts::timestamptz AND "timestamp" < ends::timestamptz;
    IF latest IS NOT NULL THEN
        starts := latest::date + 1;
    END IF;
    IF wanted >= starts THEN
        default_partition := 'audit_logs_default';
    END IF;
END $$;

-- A fence is a CHECK on a default partition that keeps it empty of a range of days to come, so that attaching their
-- table need not read the partition under a lock. It opens by itself an hour after it was made, a day before its range
-- can have entries: whatever is killed in between, no append ever meets a closed one. PostgreSQL folds the call into a
-- constant when a statement begins, and when it compares the fence with the bounds of the new partition.
CREATE FUNCTION audit_fence_is_open(made timestamptz) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN clock_timestamp() > made + interval '1 hour';
END $$;

CREATE FUNCTION audit_drop_fence(default_partition text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_constraint
               WHERE conrelid = audit_table(default_partition) AND conname = 'audit_fence') THEN
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT audit_fence', default_partition);
    END IF;
END $$;

-- First step. Returns the default partition that was fenced; NULL where there is nothing to fence: the table is there, or
-- it cannot be made, or the partition is small enough to be read.
CREATE FUNCTION audit_make_fence(wanted date) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    range record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('compliance_pipelines.partitions'));
    IF audit_table('audit_logs_' || to_char(wanted, 'YYYY_MM_DD')) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    range := audit_range_of_new_day(wanted);
    IF range.default_partition IS NULL OR audit_is_read_at_once(range.default_partition)
       OR range.starts::timestamptz < clock_timestamp() + interval '1 day' THEN
        RETURN NULL;
    END IF;
    PERFORM audit_drop_fence(range.default_partition);
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT audit_fence CHECK (NOT ("timestamp" >= %L AND "timestamp" < %L) '
                   'OR audit_fence_is_open(%L)) NOT VALID',
                   range.default_partition, range.starts::timestamptz, range.ends::timestamptz, clock_timestamp());
    EXECUTE format('COMMENT ON CONSTRAINT audit_fence ON %I IS %L', range.default_partition,
                   format('%s %s %s', range.starts, range.ends, clock_timestamp()));
    RETURN range.default_partition;
END $$;

-- Second step, of any length: it reads the default partition under a lock that lets inserts and queries go on.
CREATE FUNCTION audit_close_fence(default_partition text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_constraint
               WHERE conrelid = audit_table(default_partition) AND conname = 'audit_fence') THEN
        EXECUTE format('ALTER TABLE %I VALIDATE CONSTRAINT audit_fence', default_partition);
    END IF;
END $$;

-- Small enough that reading it takes no more than a few hundredths of a second: 16 MB.
CREATE FUNCTION audit_is_read_at_once(default_partition text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = public, pg_temp
    RETURN pg_relation_size(audit_table(default_partition)) <= 16 * 1024 * 1024;

CREATE FUNCTION audit_is_fenced(default_partition text, starts date, ends date) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = public, pg_temp SET timezone = 'UTC'
BEGIN ATOMIC
    SELECT EXISTS (
        SELECT FROM pg_constraint AS fence
        CROSS JOIN LATERAL (SELECT obj_description(fence.oid, 'pg_constraint') AS words) AS described
        WHERE fence.conrelid = audit_table(default_partition) AND fence.conname = 'audit_fence' AND fence.convalidated
          AND split_part(words, ' ', 1) = starts::text AND split_part(words, ' ', 2) = ends::text
          -- With some minutes left, so that it does not open while the table is attached.
          AND NOT audit_fence_is_open(substring(words FROM '^\S+ \S+ (.*)$')::timestamptz - interval '10 minutes'));
END;

-- Last step, or the only one. Tables are made apart and then attached: ATTACH takes a lock that lets live inserts and
-- reads go on, where CREATE TABLE ... PARTITION OF would stop them. Returns whether the table was made; it is not where
-- it is there already, or where the day's entries must stay in a default partition: because some are there, or because
-- that partition would have to be read for too long.
CREATE OR REPLACE FUNCTION audit_create_day(wanted date) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    month_table text := 'audit_logs_' || to_char(wanted, 'YYYY_MM');
    day_table text := 'audit_logs_' || to_char(wanted, 'YYYY_MM_DD');
    like_parent text := '(LIKE audit_logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)';
    no_truncate text := 'CREATE TRIGGER audit_logs_no_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
                        'EXECUTE FUNCTION audit_refuse_change()';
    range record;
    room record;
BEGIN
    IF wanted < DATE '0001-01-01' OR wanted > DATE '9998-12-31' THEN
        RAISE EXCEPTION 'no partition is made for %: outside the years 1 to 9998', wanted
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('compliance_pipelines.partitions'));
    IF audit_table(day_table) IS NOT NULL THEN
        RETURN false;
    END IF;
    range := audit_range_of_new_day(wanted);
    IF range.default_partition IS NULL
       OR NOT (audit_is_read_at_once(range.default_partition)
               OR audit_is_fenced(range.default_partition, range.starts, range.ends)) THEN
        RETURN false;
    END IF;
    room := audit_lock_room();
    -- A month comes with a default partition and a day.
    IF (room.relations + CASE WHEN audit_table(month_table) IS NULL THEN 3 ELSE 1 END) > room.most_relations THEN
        RAISE EXCEPTION 'no table is made for %: audit_logs has % partitions, and the lock table of this server has room for %',
            wanted, room.relations, room.most_relations
            USING ERRCODE = 'configuration_limit_exceeded',
                  HINT = 'Run `compliance db repair`, or raise max_locks_per_transaction.';
    END IF;
    BEGIN
        IF audit_table(month_table) IS NULL THEN
            EXECUTE format('CREATE TABLE %I %s PARTITION BY RANGE ("timestamp")', month_table, like_parent);
            EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', month_table || '_default', month_table);
            EXECUTE format(no_truncate, month_table);
            EXECUTE format(no_truncate, month_table || '_default');
            EXECUTE format('ALTER TABLE audit_logs ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           month_table, range.starts::timestamptz, range.ends::timestamptz);
        END IF;
        EXECUTE format('CREATE TABLE %I %s', day_table, like_parent);
        EXECUTE format(no_truncate, day_table);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       month_table, day_table, wanted::timestamptz, (wanted + 1)::timestamptz);
        PERFORM audit_drop_fence(range.default_partition);
    EXCEPTION WHEN check_violation THEN
        -- An entry of the day came to the default partition in this moment, and stays there.
        RETURN false;
    END;
    RETURN true;
END $$;

-- Tables of days before `before` that have no entry. Each is looked at in a subtransaction that is undone, so that its
-- locks are given back before the next one is looked at.
CREATE FUNCTION audit_empty_days(before date) RETURNS SETOF date
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    leaf record;
    filled boolean;
BEGIN
    FOR leaf IN
        SELECT relation::regclass AS name, to_date(right(name, 10), 'YYYY_MM_DD') AS day FROM audit_partitions()
        WHERE is_leaf AND name ~ '^audit_logs_[0-9]{4}_[0-9]{2}_[0-9]{2}$' ORDER BY 2
    LOOP
        CONTINUE WHEN leaf.day >= before;
        BEGIN
            EXECUTE format('SELECT EXISTS (SELECT FROM ONLY %s)', leaf.name) INTO filled;
            RAISE EXCEPTION USING ERRCODE = 'UNDO1';
        EXCEPTION
            WHEN SQLSTATE 'UNDO1' THEN NULL;
            WHEN undefined_table THEN filled := true;
        END;
        IF NOT filled THEN
            RETURN NEXT leaf.day;
        END IF;
    END LOOP;
END $$;

-- Drops the table of a day in the past if it has no entry when all locks are held. An append that waits for it goes to
-- the default partition afterwards. The first lock is waited for as long as lock_timeout says, the others not at all:
-- live traffic waits for the first one behind us.
CREATE FUNCTION audit_drop_empty_day(wanted date) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    day_table text := 'audit_logs_' || to_char(wanted, 'YYYY_MM_DD');
    day record;
    filled boolean;
BEGIN
    PERFORM audit_require_read_committed();
    PERFORM pg_advisory_xact_lock(hashtext('compliance_pipelines.partitions'));
    SELECT parent::regclass AS parent INTO day FROM audit_partitions() WHERE name = day_table AND is_leaf;
    IF NOT FOUND OR wanted >= (clock_timestamp() AT TIME ZONE 'UTC')::date THEN
        RETURN false;
    END IF;
    EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', day.parent);
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE NOWAIT', day_table);
    EXECUTE format('SELECT EXISTS (SELECT FROM ONLY %I)', day_table) INTO filled;
    IF filled THEN
        RETURN false;
    END IF;
    PERFORM audit_lock_default_of(day.parent);
    EXECUTE format('DROP TABLE %I', day_table);
    RETURN true;
END $$;

-- Dropping a partition changes what its parent's default may hold, so that PostgreSQL locks that, too.
CREATE FUNCTION audit_lock_default_of(parent regclass) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    sibling regclass;
BEGIN
    FOR sibling IN
        SELECT link.inhrelid FROM pg_inherits AS link JOIN pg_class AS child ON child.oid = link.inhrelid
        WHERE link.inhparent = parent AND pg_get_expr(child.relpartbound, child.oid) = 'DEFAULT'
    LOOP
        EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE NOWAIT', sibling);
    END LOOP;
END $$;

-- Months before that of `before` whose only partition is their default; whether that is empty is looked at when it is
-- locked.
CREATE FUNCTION audit_months_without_days(before date) RETURNS SETOF date
    LANGUAGE sql STABLE SET search_path = public, pg_temp
BEGIN ATOMIC
    SELECT to_date(right(month.name, 7), 'YYYY_MM') FROM audit_partitions() AS month
    WHERE NOT month.is_leaf AND month.name ~ '^audit_logs_[0-9]{4}_[0-9]{2}$'
      AND right(month.name, 7) < to_char(before, 'YYYY_MM')
      AND (SELECT count(*) FROM pg_inherits WHERE inhparent = month.relation) = 1
    ORDER BY 1;
END;

CREATE FUNCTION audit_drop_empty_month(wanted date) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    month_table text := 'audit_logs_' || to_char(wanted, 'YYYY_MM');
    default_partition text := month_table || '_default';
    filled boolean;
BEGIN
    PERFORM audit_require_read_committed();
    PERFORM pg_advisory_xact_lock(hashtext('compliance_pipelines.partitions'));
    IF date_trunc('month', wanted) >= date_trunc('month', clock_timestamp())
       OR NOT EXISTS (SELECT FROM audit_partitions() WHERE name = month_table AND NOT is_leaf)
       OR (SELECT count(*) FROM pg_inherits WHERE inhparent = audit_table(month_table)) <> 1 THEN
        RETURN false;
    END IF;
    -- Looked at twice, so that a month that keeps its entries does not hold up the whole table each day.
    BEGIN
        EXECUTE format('SELECT EXISTS (SELECT FROM ONLY %I)', default_partition) INTO filled;
        RAISE EXCEPTION USING ERRCODE = 'UNDO1';
    EXCEPTION WHEN SQLSTATE 'UNDO1' THEN NULL;
    END;
    IF filled THEN
        RETURN false;
    END IF;
    LOCK TABLE ONLY audit_logs IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE NOWAIT', month_table);
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE NOWAIT', default_partition);
    EXECUTE format('SELECT EXISTS (SELECT FROM ONLY %I)', default_partition) INTO filled;
    IF filled OR (SELECT count(*) FROM pg_inherits WHERE inhparent = audit_table(month_table)) <> 1 THEN
        RETURN false;
    END IF;
    PERFORM audit_lock_default_of('audit_logs');
    EXECUTE format('DROP TABLE %I', month_table);
    RETURN true;
END $$;

-- Where the entries of a day are. They are in one place: a table is only attached where no default partition holds an
-- entry of its day, and from then on takes them all.
CREATE FUNCTION audit_day_place(wanted date) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    month_table oid := audit_table('audit_logs_' || to_char(wanted, 'YYYY_MM'));
BEGIN
    IF EXISTS (SELECT FROM audit_partitions() WHERE is_leaf AND name = 'audit_logs_' || to_char(wanted, 'YYYY_MM_DD')) THEN
        RETURN 'table';
    END IF;
    IF month_table IS NOT NULL AND wanted >= audit_partition_start(month_table)::date THEN
        RETURN 'month default';
    END IF;
    RETURN 'default';
END $$;

-- Tells the rows of a day from any others, changed ones included: an UPDATE, or a DELETE and an INSERT, make another
-- version of a row at another place under another transaction.
CREATE FUNCTION audit_day_fingerprint(wanted date, OUT entries bigint, OUT fingerprint numeric)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    EXECUTE format('SELECT count(*), coalesce(sum(hashtextextended(tableoid::text || ctid::text || xmin::text, 0)), 0) '
                   'FROM audit_logs WHERE "timestamp" >= %L AND "timestamp" < %L',
                   wanted::timestamptz, (wanted + 1)::timestamptz)
        INTO entries, fingerprint;
END $$;

-- The last gate in front of the loss of a day: the caller has compared the rows, this compares the counts once more.
-- Like audit_drop_empty_day it waits for one lock only, so that live traffic waits no longer than that behind it.
CREATE OR REPLACE FUNCTION audit_drop_day(wanted date) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    day_table text := 'audit_logs_' || to_char(wanted, 'YYYY_MM_DD');
    month_table regclass;
    hot bigint;
    verified bigint;
BEGIN
    PERFORM audit_require_read_committed();
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', day_table);
    EXECUTE format('SELECT count(*) FROM %I', day_table) INTO hot;
    SELECT coalesce(sum(entry_count), 0) INTO verified FROM archived_audit_logs
        WHERE day = wanted AND verified_at IS NOT NULL AND purged_at IS NULL AND expired_at IS NULL;
    IF hot <> verified THEN
        RAISE EXCEPTION '% holds % entries but the verified archives of that day hold %: not dropped',
            day_table, hot, verified USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT inhparent INTO month_table FROM pg_inherits WHERE inhrelid = audit_table(day_table);
    EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', month_table);
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE NOWAIT', day_table);
    PERFORM audit_lock_default_of(month_table);
    EXECUTE format('DROP TABLE %I', day_table);
    RETURN hot;
END $$;

-- Removes the rows of a day wherever they are: drops its table, or deletes exactly its rows from a default partition, which
-- locks no more than these rows. Entries that are committed meanwhile are not seen by the DELETE, and stay.
CREATE FUNCTION audit_remove_day(removed date, expected_count bigint, expected_fingerprint numeric DEFAULT NULL)
    RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    verified bigint;
    gone bigint;
    found numeric;
BEGIN
    PERFORM audit_require_read_committed();
    SELECT coalesce(sum(entry_count), 0) INTO verified FROM archived_audit_logs
        WHERE day = removed AND verified_at IS NOT NULL AND purged_at IS NULL AND expired_at IS NULL;
    IF expected_count IS DISTINCT FROM verified THEN
        RAISE EXCEPTION '% entries of % were compared but its verified archives hold %: not removed',
            expected_count, removed, verified USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF audit_day_place(removed) = 'table' THEN
        IF expected_fingerprint IS NOT NULL THEN
            PERFORM audit_lock_day(removed);
            SELECT fingerprint INTO found FROM audit_day_fingerprint(removed);
        END IF;
        IF found IS NOT DISTINCT FROM expected_fingerprint THEN
            gone := audit_drop_day(removed);
        END IF;
    ELSE
        PERFORM set_config('compliance_pipelines.removed_day', removed::text, true);
        EXECUTE format('WITH gone AS (DELETE FROM audit_logs WHERE "timestamp" >= %L AND "timestamp" < %L '
                       'RETURNING tableoid, ctid, xmin) '
                       'SELECT count(*), coalesce(sum(hashtextextended(tableoid::text || ctid::text || xmin::text, 0)), 0) '
                       'FROM gone', removed::timestamptz, (removed + 1)::timestamptz)
            INTO gone, found;
        PERFORM set_config('compliance_pipelines.removed_day', '', true);
        IF gone <> verified THEN
            RAISE EXCEPTION '% has % entries in a default partition but its verified archives hold %: not removed',
                removed, gone, verified USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
    END IF;
    IF expected_fingerprint IS NOT NULL AND found IS DISTINCT FROM expected_fingerprint THEN
        RAISE EXCEPTION 'the rows of % are not those that were compared: not removed', removed
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN gone;
END $$;

-- The days of entries in a range of transaction ids, partition by partition: planning one statement over all of them would
-- lock each with its indexes, and take longer with each.
CREATE FUNCTION audit_days_written(tx_from bigint, tx_to bigint DEFAULT NULL)
    RETURNS TABLE (day date, entries bigint, oldest timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    leaf regclass;
    condition text := format('tx_id >= %s AND tx_id < %s', tx_from, coalesce(tx_to, 9223372036854775807));
    first timestamptz;
    last timestamptz;
    days date[];
    counts bigint[];
    oldest_written timestamptz[];
BEGIN
    FOR leaf IN SELECT relation::regclass FROM audit_partitions() WHERE is_leaf ORDER BY name LOOP
        days := '{}';
        BEGIN
            -- Grouped by day, PostgreSQL would sort all the rows; all but default partitions hold one day.
            EXECUTE format('SELECT min("timestamp"), max("timestamp"), ARRAY[count(*)], ARRAY[min(created_at)] '
                           'FROM ONLY %s WHERE %s', leaf, condition)
                INTO first, last, counts, oldest_written;
            IF first::date = last::date THEN
                days := ARRAY[first::date];
            ELSIF first IS NOT NULL THEN
                EXECUTE format('SELECT array_agg(day), array_agg(entries), array_agg(oldest) FROM ('
                               'SELECT "timestamp"::date AS day, count(*) AS entries, min(created_at) AS oldest '
                               'FROM ONLY %s WHERE %s GROUP BY 1) AS per_day', leaf, condition)
                    INTO days, counts, oldest_written;
            END IF;
            RAISE EXCEPTION USING ERRCODE = 'UNDO1';
        EXCEPTION
            WHEN SQLSTATE 'UNDO1' THEN NULL;
            -- Dropped in this moment: with an entry in it that is not sealed, it would not have been.
            WHEN undefined_table THEN days := '{}';
        END;
        IF cardinality(days) > 0 THEN
            RETURN QUERY SELECT * FROM unnest(days, counts, oldest_written);
        END IF;
    END LOOP;
END $$;

-- What is in default partitions: for each the entries, and the day that has most of them.
DROP FUNCTION audit_strays();
CREATE FUNCTION audit_strays() RETURNS TABLE (partition text, entries bigint, largest_day date, largest_day_entries bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    stray text;
BEGIN
    FOR stray IN SELECT name FROM audit_partitions() WHERE is_leaf AND is_default ORDER BY name LOOP
        BEGIN
            EXECUTE format('SELECT %L::text, sum(entries)::bigint, (array_agg(day ORDER BY entries DESC, day))[1], max(entries) '
                           'FROM (SELECT "timestamp"::date AS day, count(*) AS entries FROM ONLY %I GROUP BY 1) AS per_day',
                           stray, stray)
                INTO partition, entries, largest_day, largest_day_entries;
            RAISE EXCEPTION USING ERRCODE = 'UNDO1';
        EXCEPTION
            WHEN SQLSTATE 'UNDO1' THEN NULL;
            WHEN undefined_table THEN entries := NULL;
        END;
        IF entries > 0 THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;

DROP FUNCTION audit_move_strays(date), audit_drop_empty_months(date);

REVOKE ALL ON FUNCTION audit_range_of_new_day(date), audit_drop_fence(text), audit_make_fence(date),
    audit_close_fence(text), audit_empty_days(date), audit_drop_empty_day(date), audit_lock_default_of(regclass),
    audit_drop_empty_month(date), audit_day_fingerprint(date), audit_remove_day(date, bigint, numeric),
    audit_days_written(bigint, bigint), audit_strays() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_make_fence(date), audit_close_fence(text), audit_drop_fence(text), audit_empty_days(date),
    audit_drop_empty_day(date), audit_drop_empty_month(date), audit_day_fingerprint(date),
    audit_remove_day(date, bigint, numeric) TO audit_archiver;
GRANT EXECUTE ON FUNCTION audit_days_written(bigint, bigint) TO audit_writer, audit_archiver, audit_reader;
GRANT EXECUTE ON FUNCTION audit_strays() TO audit_archiver, audit_reader;
