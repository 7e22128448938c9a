"""Every statement about the tables of an application but those that read or clear its rows.

Here: what PostgreSQL's catalogue says of a table. Not here: the rows (tables.py); our own tables (sql.py).

The database is somebody else's, whose search path leads where its login says: names of the catalogue are qualified.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

RELATION: Final = text("""
    SELECT relation.oid, relation.relkind
    FROM pg_catalog.pg_class AS relation
    JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relation.relnamespace
    WHERE relation.relname = :table AND relation.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND CASE WHEN CAST(:schema AS text) IS NULL THEN pg_catalog.pg_table_is_visible(relation.oid)
               ELSE namespace.nspname = :schema END
""")
# A domain is its base type, which has no constraint that an id could break.
COLUMNS: Final = text("""
    WITH RECURSIVE resolved AS (
        SELECT attname, atttypid AS type_id, pg_catalog.format_type(atttypid, atttypmod) AS declared
        FROM pg_catalog.pg_attribute WHERE attrelid = :relation AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT resolved.attname, type.typbasetype, resolved.declared
        FROM resolved JOIN pg_catalog.pg_type AS type ON type.oid = resolved.type_id WHERE type.typbasetype <> 0
    )
    SELECT resolved.attname AS name, namespace.nspname AS type_schema, type.typname AS type_name, resolved.declared,
           pg_catalog.quote_ident(namespace.nspname) || '.' || pg_catalog.quote_ident(type.typname) AS base
    FROM resolved
    JOIN pg_catalog.pg_type AS type ON type.oid = resolved.type_id AND type.typbasetype = 0
    JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = type.typnamespace
""")
ACCESS: Final = text("""
    SELECT pg_catalog.quote_ident(namespace.nspname) || '.' || pg_catalog.quote_ident(relation.relname) AS name,
           pg_catalog.quote_ident(namespace.nspname) AS schema_name, pg_catalog.quote_ident(current_user) AS login,
           pg_catalog.has_schema_privilege(namespace.oid, 'USAGE') AS may_use_schema,
           pg_catalog.has_table_privilege(relation.oid, 'DELETE') AS may_delete,
           pg_catalog.row_security_active(relation.oid) AS is_filtered
    FROM pg_catalog.pg_class AS relation
    JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relation.relnamespace
    WHERE relation.oid = :relation
""")
HAS_INDEX: Final = text("""
    SELECT EXISTS (SELECT FROM pg_catalog.pg_index AS index
                   JOIN pg_catalog.pg_attribute AS attribute ON attribute.attrelid = index.indrelid
                   WHERE index.indrelid = :relation AND index.indisvalid AND attribute.attname = :column
                     AND attribute.attnum = index.indkey[0] AND index.indpred IS NULL)
""")
COLUMN_RIGHT: Final = text("""
    SELECT pg_catalog.has_column_privilege(CAST(:relation AS oid), CAST(:column AS text), :privilege)
""")
UNIQUE_COLUMNS: Final = text("""
    SELECT pg_catalog.quote_ident(relation.relname) AS name,
           pg_catalog.array_agg(CAST(attribute.attname AS text)) AS columns,
           -- PostgreSQL 15 and later.
           coalesce(CAST(pg_catalog.to_jsonb(index) ->> 'indnullsnotdistinct' AS boolean), false) AS nulls_are_equal
    FROM pg_catalog.pg_index AS index
    JOIN pg_catalog.pg_class AS relation ON relation.oid = index.indexrelid
    JOIN pg_catalog.pg_attribute AS attribute
        ON attribute.attrelid = index.indrelid AND attribute.attnum = ANY(index.indkey[0:index.indnkeyatts - 1])
    WHERE index.indrelid = :relation AND index.indisunique AND index.indislive AND index.indexprs IS NULL
      AND index.indpred IS NULL
    GROUP BY relation.relname, nulls_are_equal
    ORDER BY relation.relname
""")
