"""A workflow that waits for words."""

from __future__ import annotations

from odradek import workflow
from odradek.schemas import records as r
from tests.orchestrator.partition import Partition


@workflow.defn
class Listening:
    """Ends with the words that it has heard, once they are enough."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)

    @workflow.run
    async def run(self, enough: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.words) >= enough)
        return self.words


def say(partition: Partition, workflow_id: str, word: str) -> r.Request:
    request = partition.request()
    partition.send(workflow_id, r.SignalWorkflow("say", [partition.payload(word)], request=request))
    return request
