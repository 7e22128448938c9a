"""Encryption of what lies in the cold store: a key for each object, wrapped by a key-encryption key, on record twice.

Here: data keys, key-encryption keys, where wrapped keys are kept, and what is done with them. Not here: how an object
is encrypted with its key (archive/parquet.py), and encryption by the storage service (object_store/).
"""
