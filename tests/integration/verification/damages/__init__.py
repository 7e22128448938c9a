"""Everything that a superuser or an administrator of the bucket can do, and what it must be called."""

from typing import Final

from tests.integration.verification.damages.catalogue import CATALOGUE
from tests.integration.verification.damages.damage import Damage
from tests.integration.verification.damages.hot_rows import HOT_ROWS
from tests.integration.verification.damages.ledger import LEDGER
from tests.integration.verification.damages.parts import PARTS

DAMAGES: Final = [*HOT_ROWS, *PARTS, *CATALOGUE, *LEDGER]

__all__ = ["CATALOGUE", "DAMAGES", "HOT_ROWS", "LEDGER", "PARTS", "Damage"]
