"""Keyed filters over what archived parts have: the index by which a search reads only what can match.

Here: making filters of rows, keeping them in the catalogue, asking them. Not here: the rows and when filters are made
(archive/), the search.

Everything here can be made again from the cold store, byte for byte.
"""

from compliance_pipelines.search_filters.matching import Matching, SearchedPart, Wanted, matching_row_groups

__all__ = ["Matching", "SearchedPart", "Wanted", "matching_row_groups"]
