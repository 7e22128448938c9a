"""The main job on the embedded stack: sample entries or the user's own, sealed, archived, verified, purged."""
