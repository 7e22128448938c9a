"""Dagster's web pages as a reader uses them: by what is written on them.

Here: going to a page, pressing what a reader presses, waiting for what a reader waits for, pictures. Not here: what the
pages should say (the tests).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import date

    from playwright.sync_api import Locator, Page

_ASSET: Final = "audit/cold_archive"
# The pages ask again for what they show only every few seconds; a run takes a few seconds to start.
_MILLISECONDS: Final = 600_000


class DagsterPages:
    """The pages of the cold archive."""

    def __init__(self, page: Page, address: str) -> None:
        page.set_default_timeout(_MILLISECONDS)
        page.set_default_navigation_timeout(_MILLISECONDS)
        self._page = page
        self._address = address
        self._until_served()

    def _until_served(self) -> None:
        from playwright.sync_api import Error  # noqa: PLC0415 - an optional part of the development environment

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
            TimeoutError: of Playwright, when it never does.
        """
        self._open("partitions")
        for status, count in counts.items():
            self._page.get_by_text(f"{status.capitalize()} ({count})", exact=True).wait_for()

    def partition_is(self, day: date, status: str) -> None:
        """Wait until the day's own part of the page has the status in words."""
        self._open(f"partitions&partition={day}")
        heading = self._page.get_by_text(str(day), exact=True).last
        heading.locator("xpath=following::*").get_by_text(status, exact=True).first.wait_for()

    def check_is(self, check: str, status: str) -> None:
        """Wait until the list of checks gives the check the status in words."""
        self._open("checks")
        row = self._page.locator("a,div", has_text=re.compile(rf"^{re.escape(check)}\s*{re.escape(status)}$"))
        row.first.wait_for()

    def picture(self, name: str) -> None:
        """Keep what is shown as `NAME.png` in the directory UI_PICTURES, if there is one."""
        directory = os.environ.get("UI_PICTURES")
        if directory:
            self._page.screenshot(path=Path(directory, f"{name}.png"))

    def _open(self, view: str) -> Locator:
        self._page.goto(f"{self._address}/assets/{_ASSET}?view={view}")
        return self._page.get_by_role("button", name="Materialize").first
