"""A saver of each generation, and each kind of it under each prefix that it takes."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.savers.client import SaverProcess
from tests.savers.generations import GENERATIONS, Generation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from compliance_pipelines.conversations.purge import Retention
    from tests.integration.conversations.conftest import World

PREFIXES: Final = {"checkpoint_prefix": "agents:state", "checkpoint_write_prefix": "agents:pending"}


@dataclass(frozen=True)
class Layout:
    """One kind of saver of one generation, under one pair of prefixes."""

    generation: Generation
    kind: str
    has_prefixes: bool

    @property
    def prefixes(self) -> dict[str, str]:
        return PREFIXES if self.has_prefixes else {}

    @property
    def is_shallow(self) -> bool:
        return "shallow" in self.kind

    def __str__(self) -> str:
        return f"{self.generation.version}-{self.kind}{'-prefixes' if self.has_prefixes else ''}"

    def retention(self, world: World, **options: object) -> Retention:
        """Retention over what this saver writes."""
        settings = {
            f"checkpoint_redis_{name.removeprefix('checkpoint_')}": value for name, value in self.prefixes.items()
        }
        return world.retention(**settings, **options)


LAYOUTS: Final = [
    Layout(generation, kind, has_prefixes)
    for generation in GENERATIONS
    for has_prefixes in ([False, True] if generation.takes_prefixes else [False])
    for kind in generation.kinds
]


def each_layout(wanted: Callable[[Layout], bool] = lambda _: True) -> pytest.MarkDecorator:
    """Run a test with each layout, neighbours of one generation one after another."""
    chosen = [layout for layout in LAYOUTS if wanted(layout)]
    return pytest.mark.parametrize(
        ("saver_process", "layout"),
        [(layout.generation, layout) for layout in chosen],
        indirect=["saver_process"],
        ids=[str(layout) for layout in chosen],
    )


class SaverProcesses:
    """The processes of this worker, one for each generation that was asked for; each takes a second to start."""

    def __init__(self) -> None:
        self._running: dict[Generation, SaverProcess] = {}
        self._stack = ExitStack()

    def of(self, generation: Generation) -> SaverProcess:
        """The one of a generation: the same as for the test before, unless that left it in the middle of something."""
        process = self._running.get(generation)
        if process is None or not process.at_rest:
            process = self._running[generation] = self._stack.enter_context(SaverProcess(generation))
        return process

    def end(self) -> None:
        """End them all."""
        self._stack.close()


# Not a fixture with parameters of the session: pytest ends these after each test.
@pytest.fixture(scope="session")
def saver_processes() -> Iterator[SaverProcesses]:
    """The processes of this worker."""
    processes = SaverProcesses()
    yield processes
    processes.end()


@pytest.fixture
def saver_process(request: pytest.FixtureRequest, saver_processes: SaverProcesses) -> SaverProcess:
    """The process of a generation."""
    return saver_processes.of(request.param)


@pytest.fixture
def saver(saver_process: SaverProcess, layout: Layout, world: World) -> SaverProcess:
    """A saver of the layout, open on the test's Redis."""
    saver_process.open(world.url, layout.kind, layout.prefixes)
    return saver_process
