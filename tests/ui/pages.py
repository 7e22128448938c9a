"""Dagster's web pages as a reader uses them: by what is written on them.

Here: going to a page, pressing what a reader presses, waiting for what a reader waits for, pictures. Not here: what the
pages should say (the tests).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from playwright.sync_api import Error, TimeoutError  # noqa: A004 - a time-out of the browser is the only one here

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from playwright.sync_api import Locator, Page

_ASSET: Final = "audit/cold_archive"
# The pages ask again for what they show only every few seconds; a run takes a few seconds to start.
_MILLISECONDS: Final = 600_000
_LOOKS: Final = 40
WIDTH: Final = 1440
HEIGHT: Final = 900


class DagsterPages:
    """The pages of the cold archive."""

    def __init__(self, page: Page, address: str) -> None:
        page.set_default_timeout(_MILLISECONDS)
        page.set_default_navigation_timeout(_MILLISECONDS)
        self._page = page
        self._address = address
        self._until_served()

    def _until_served(self) -> None:
        for _ in range(_MILLISECONDS // 1000):
            try:
                self._page.goto(self._address)
            except Error:
                self._page.wait_for_timeout(1000)
            else:
                return
        raise TimeoutError(f"nothing answers at {self._address}")

    def materialize(self, partitions: str) -> None:
        """Launch what the dialogue of the button `Materialize` launches.

        Args:
            partitions: as the dialogue wants them: a day, or `[first...last]`.
        """
        self._open("partitions")
        self._page.get_by_role("button", name="Materialize").first.click()
        dialogue = self._page.get_by_role("dialog")
        everything = dialogue.get_by_text("Show all partitions")
        confirm = self._page.get_by_role("button", name="Confirm")
        # Asked first where a day upstream was never observed.
        everything.or_(confirm).first.wait_for()
        if confirm.is_visible():
            confirm.click()
        # The dialogue offers the last ninety days, and what goes to the cold store is older.
        everything.click()
        selection = dialogue.locator("input[type=text]").first
        selection.fill(partitions)
        selection.press("Enter")
        dialogue.get_by_role("button", name=re.compile("^Launch")).click()
        dialogue.wait_for(state="hidden")

    def partition_bar_says(self, **counts: int) -> None:
        """Wait until the partitions' page counts so many in each status; `failed=1, materialized=9`.

        Raises:
            TimeoutError: it never does.
        """
        texts = [f"{status.capitalize()} ({count})" for status, count in counts.items()]
        self._shows("partitions", lambda: [self._page.get_by_text(text, exact=True).first for text in texts])

    def partition_says(self, day: date, text: str) -> None:
        """Wait until the part of the page about one day has a text in it."""
        self._shows(f"partitions&partition={day}", lambda: [self._page.get_by_text(text).first])

    def check_is(self, check: str, status: str) -> None:
        """Wait until the list of checks gives the check the status in words."""
        row = re.compile(rf"^(?:{re.escape(check)}\s*)+{re.escape(status)}$")  # the name is there twice, once hidden
        self._shows("checks", lambda: [self._page.locator("a,div", has_text=row).first])

    def _shows(self, view: str, wanted: Callable[[], list[Locator]]) -> None:
        """Open a view until it shows what is wanted: not everything that changes does so on an open page."""
        for _ in range(_LOOKS):
            self._open(view)
            try:
                for locator in wanted():
                    locator.wait_for(timeout=_MILLISECONDS / _LOOKS)
            except TimeoutError:
                continue
            return
        raise TimeoutError(f"{view} never showed it: {self._page.inner_text('body')}")

    def graph_shows(self, *groups: str) -> None:
        """Open the graph of all assets, and wait until it shows these groups and how their assets are."""
        self._page.goto(f"{self._address}/asset-groups")
        for group in groups:
            self._page.get_by_text(group, exact=True).last.wait_for()
        self._page.get_by_text("fetching statuses").first.wait_for(state="hidden")

    def picture(self, name: str, *, height: int = HEIGHT) -> None:
        """Keep the upper part of what is shown as `NAME.png` in the directory UI_PICTURES, if there is one."""
        directory = os.environ.get("UI_PICTURES")
        if directory:
            self._page.screenshot(
                path=Path(directory, f"{name}.png"), clip={"x": 0, "y": 0, "width": WIDTH, "height": height}
            )

    def _open(self, view: str) -> None:
        self._page.goto(f"{self._address}/assets/{_ASSET}?view={view}")
