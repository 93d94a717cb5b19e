"""Child decomposition: a catalogue is imported by one child per region, and each has a history of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from odradek import activity, workflow
from odradek.exceptions import ChildWorkflowError

SOON = timedelta(minutes=2)


@activity.defn
async def import_page(region: str, page: int) -> int:
    """Returns how many articles the page had."""
    if region == "atlantis":
        raise ValueError("there is no such region")
    return 10 + page


@workflow.defn
class RegionImport:
    @workflow.run
    async def run(self, region: str, pages: int) -> int:
        counts = [
            await workflow.execute_activity(
                import_page,
                args=[region, page],
                start_to_close_timeout=SOON,
                schedule_to_close_timeout=timedelta(minutes=10),
            )
            for page in range(pages)
        ]
        return sum(counts)


@workflow.defn
class CatalogueImport:
    """Returns articles by region, and -1 for a region that could not be imported: the others are not held up."""

    @workflow.run
    async def run(self, pages: Mapping[str, int]) -> dict[str, int]:
        own_id = workflow.info().workflow_id

        async def region(name: str, count: int) -> int:
            try:
                articles: int = await workflow.execute_child_workflow(
                    RegionImport.run, args=[name, count], id=f"{own_id}/{name}"
                )
            except ChildWorkflowError as error:
                workflow.logger.warning("region %s was not imported: %s", name, error.cause)
                return -1
            return articles

        counts = await asyncio.gather(*(region(name, count) for name, count in pages.items()))
        return dict(zip(pages, counts, strict=True))
