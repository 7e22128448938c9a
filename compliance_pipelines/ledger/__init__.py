"""The tamper-evident ledger: Merkle tree, signed checkpoints, sealing and proofs."""
