"""Legal holds: what they cover is neither purged, expired, deleted nor erased.

Whoever destroys calls :func:`lock_holds` in the transaction in which it destroys, or destroys elsewhere under
:func:`holds_locked`, asks the set about each thing, and reports what is held. :func:`active_holds` is enough for
planning.
"""

from compliance_pipelines.holds.active import (
    Hold,
    HoldScope,
    HoldSet,
    active_holds,
    holds_locked,
    lock_holds,
    may_see_holds,
)

__all__ = ["Hold", "HoldScope", "HoldSet", "active_holds", "holds_locked", "lock_holds", "may_see_holds"]
