"""Cold archives: export, manifest, verification, restore."""
