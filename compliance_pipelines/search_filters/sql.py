"""Every SQL statement about search filters.

Here: statements with bound parameters. Not here: what their results mean.
"""

from __future__ import annotations

from sqlalchemy import text

from compliance_pipelines.postgres import tables
from compliance_pipelines.postgres.statements import columns, insert

_COLUMNS = columns(tables.archive_search_filters)

INSERT_FILTER = text(insert(tables.archive_search_filters))
FILTERS_OF_OBJECT = text(f"""
    SELECT {_COLUMNS} FROM archive_search_filters WHERE object_key = :object_key ORDER BY row_group, column_name
""")  # noqa: S608 - constants only
FILTERS_OF_COLUMNS = text(f"""
    SELECT {_COLUMNS} FROM archive_search_filters
    WHERE object_key = ANY(:object_keys) AND column_name = ANY(:columns) ORDER BY object_key, row_group, column_name
""")  # noqa: S608 - constants only
OBJECTS_WITH_FILTERS = text("""
    SELECT object_key FROM unnest(CAST(:object_keys AS text[])) AS object_key
    WHERE EXISTS (SELECT FROM archive_search_filters AS made WHERE made.object_key = object_key.object_key)
""")
REMOVE_FILTERS = text("DELETE FROM archive_search_filters WHERE object_key = ANY(:object_keys)")
