"""Drills: a region is gone, or what stands around the audit trail; and the document has every drill."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.export import archive_day
from tests.drills.site import AUTHOR, REASON
from tests.drills.steps import documented, in_shell
from tests.drills.test_database import forget_logins
from tests.integration.verification.world import HOT

if TYPE_CHECKING:
    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from tests.drills.site import Site

_CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.drill("region-lost", "database and bucket; a dump, and an older replica of the bucket, are elsewhere")
def test_a_region_is_lost(site: Site, new_database: str) -> None:
    steps = site.steps
    forget_logins(site.elsewhere)
    copy = site.copy_of_the_store()
    site.world.days.append(HOT, 5)
    archive_day(site.world.services, HOT)
    rows = site.world.days.cold_rows(HOT)
    site.psql_goes_to(site.server)
    roles = "pg_dumpall --roles-only | grep -v 'ROLE postgres' > roles.sql"
    assert in_shell(f"{roles} && pg_dump --format=custom --file=audit.dump {site.database}").status == 0
    site.lose_database()
    shutil.rmtree(site.cold)

    steps.values |= {"DATABASE": new_database, "DAY": str(HOT)}
    site.psql_goes_to(site.elsewhere)
    steps.run("psql --quiet --file=roles.sql postgres")
    steps.run("createdb DATABASE")
    steps.run("pg_restore --exit-on-error --dbname=DATABASE audit.dump")
    site.point_to(site.elsewhere, new_database)
    steps.run("export AUDIT_COLD_STORAGE_PATH=COPY")
    before = site.command("store", "republish", "--author", AUTHOR, "--reason", REASON, "--yes")
    assert (before.status, "adopt-cluster" in before.err) == (1, True), before
    steps.run("compliance ledger adopt-cluster --yes")
    steps.run(f'compliance store republish --author "{AUTHOR}" --reason "{REASON}"')
    steps.run("compliance keys verify --repair")
    steps.run("compliance repair DAY")
    steps.run("compliance seal")
    steps.run("compliance verify --all")
    with site.opened_at(site.elsewhere, new_database, copy) as world:
        assert world.days.cold_rows(HOT) == rows


@pytest.mark.drill("dagster-lost", "Dagster's own database: all its runs, ticks and colours")
def test_dagster_forgets_everything(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, home = site.steps, site.directory / "home"
    home.mkdir()
    shutil.copy(_CHECKOUT / "dagster.yaml", home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    catalogue = "SELECT day, part, root, verified_at, purged_at FROM archived_audit_logs ORDER BY 1, 2"
    evidence = site.world.execute(catalogue)

    assert "0 days archived, 0 days purged, 0 failures" in steps.run("compliance run").out
    assert evidence == site.world.execute(catalogue)
    steps.run("compliance verify --all")


@pytest.mark.drill("redis-lost", "every conversation, and what says of which environment the Redis is")
def test_a_redis_is_lost(site: Site, empty_redis: EmbeddedRedis) -> None:
    steps = site.steps
    site.command.set(CHECKPOINT_REDIS_URL=empty_redis.url())
    refused = steps.run("compliance conversations purge", status=1)
    assert "compliance conversations bind" in refused.err
    steps.run("compliance conversations bind")
    steps.run("compliance conversations plan")


def test_every_drill_of_the_document_is_run_and_named() -> None:
    """Each block belongs to a drill, and each drill to one; the overview names them all."""
    text = (_CHECKOUT / "docs" / "disaster-recovery.md").read_text(encoding="utf-8")
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    run = re.findall(r'@pytest\.mark\.drill\(\s*"([a-z-]+)"', sources)
    overview = text.split("\n## ")[1]
    assert sorted(run) == sorted(documented())
    assert [name for name in run if f"`{name}`" not in overview] == []
