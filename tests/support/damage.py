"""Damage that a test does to a cold store in a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def flip(directory: Path) -> None:
    """Turn one bit in the middle of the one Parquet file below a directory; done twice it is whole again."""
    [path] = directory.rglob("*.parquet")
    turn_bit(path)


def turn_bit(path: Path) -> None:
    """Turn one bit in the middle of a file; done twice it is whole again."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
