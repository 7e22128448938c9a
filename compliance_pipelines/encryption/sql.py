"""Every SQL statement about keys of objects.

Here: statements with bound parameters. Not here: what their results mean.
"""

from __future__ import annotations

from sqlalchemy import text

from compliance_pipelines.postgres import tables
from compliance_pipelines.postgres.statements import columns, insert

_COLUMNS = columns(tables.object_keys)

KEY_OF_OBJECT = text(f"SELECT {_COLUMNS} FROM object_keys WHERE object_key = :object_key")  # noqa: S608 - constants only
KEYS_OF_OBJECTS = text(f"SELECT {_COLUMNS} FROM object_keys WHERE object_key = ANY(:object_keys)")  # noqa: S608 - constants only
KEYS_AFTER = text(f"""
    SELECT {_COLUMNS} FROM object_keys WHERE object_key > :after ORDER BY object_key LIMIT :count
""")  # noqa: S608 - constants only
OBJECTS_WITH_PREFIX = text(
    "SELECT object_key FROM object_keys WHERE starts_with(object_key, :prefix) ORDER BY object_key"
)
INSERT_KEY = text(
    f"{insert(tables.object_keys, but=('destroyed_at', 'destruction_reason'))} ON CONFLICT (object_key) DO NOTHING"
)
REWRAP_KEY = text("""
    UPDATE object_keys SET key_encryption_key = :key_encryption_key, wrapped = :wrapped, wrapped_at = :wrapped_at
    WHERE object_key = :object_key AND key_id = :key_id AND wrapped IS NOT NULL
""")
DESTROY_KEY = text("""
    UPDATE object_keys SET wrapped = NULL, destroyed_at = clock_timestamp(), destruction_reason = :reason
    WHERE object_key = :object_key AND wrapped IS NOT NULL
    RETURNING key_id
""")
USES_OF_KEYS = text("""
    SELECT key_encryption_key, count(*) AS keys FROM object_keys WHERE wrapped IS NOT NULL
    GROUP BY key_encryption_key ORDER BY key_encryption_key
""")
DESTROYED_KEYS = text("SELECT count(*) FROM object_keys WHERE wrapped IS NULL")
