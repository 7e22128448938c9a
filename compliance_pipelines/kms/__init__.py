"""Asking key management services: AWS KMS and GCP KMS.

Here: requests, bounded in time, references to keys, and what refusals mean. Not here: what a key is used for: signing
(ledger/kms.py), wrapping other keys (encryption/).
"""
