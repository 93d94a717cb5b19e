"""Messages between workflows of two partitions: recorded, sent at least once, taken in once, answered for certain.

Stands for ``core/children.py``, ``Inputs.open_run``, ``on_message_answer`` and ``on_child_result``
(``core/inputs.py``), and ``Remembered`` (``core/run.py``). Ownership is the concern of other models: here a history is
a list, and an owner may stop between any two appends. The sender's message is a signal, or the start of a child whose
run ends with a result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from tests.protocol.checker import Model, Step

TAKEN, CLOSED, LATE = "taken", "closed", "late"
EXPIRES = 1
"""Messages live until then; time goes from 0 to 2."""


class State(NamedTuple):
    now: int = 0
    recorded: bool = False
    """The message is an event of its sender."""
    sending: bool = False
    """The sender's owner is about to send it."""
    verdict: str = ""
    """The event of the answer; "" until there is one."""
    result: int = 0
    """How often the sender's history has taken in the child's result."""
    inbox: tuple[int, ...] = ()
    """Of the receiver: when each copy was appended."""
    read: int = 0
    """The receiver's owner has read so many."""
    durable: int = 0
    """A new owner reads from here: x."""
    run: int = 0
    """The receiver's open run: 0 before a child's start, -1 when it has closed for good."""
    run_offset: int = -1
    """The inbox offset that the open run's records carry."""
    times_taken: int = 0
    remembered: bool = False
    """The history says that the message was taken in."""
    tidied: bool = False
    """The owner's memory does not."""
    answering: str = ""
    results: int = 0
    """Copies of the child's result that are on their way."""
    result_due: bool = False
    sends: int = 3
    crashes: int = 2
    runs: int = 1
    """The receiver may yet continue as new so often."""


@dataclass(frozen=True)
class Messages(Model[State]):
    child: bool = False
    sends: int = 3
    crashes: int = 2

    DEVICES: ClassVar[dict[str, str]] = {
        "recorded before sent": "a message is an event of its sender before it leaves",
        "taken in before answered": "the answer leaves when the event of the receiver is durable",
        "numbers are remembered": "a copy of what was taken in is answered, and not taken in again",
        "memory outlives runs": "a workflow remembers what it has taken in across its runs",
        "memory by the inbox's time": "it is forgotten when the inbox itself is past the lifetime, not by a clock",
        "late messages are refused": "what comes after its lifetime is not taken in: it may have been forgotten",
        "late before closed": "what comes after its lifetime is never told for certain that it was not taken in",
        "memory outlives the end": "the summary of a closed run remembers, too",
        "results count once": "a child's result is taken in by an open child entry, once",
    }

    def initial(self) -> State:
        return State(run=0 if self.child else 1, sends=self.sends, crashes=self.crashes)

    def steps(self, state: State) -> Iterator[tuple[Step, State]]:
        if state.now < 2:
            yield ("time passes",), state._replace(now=state.now + 1)
        yield from self._sender(state)
        yield from self._receiver(state)
        if state.crashes:
            after = state._replace(crashes=state.crashes - 1)
            yield ("the sender is taken over",), after._replace(sending=state.recorded and not state.verdict)
            yield ("the receiver is taken over",), after._replace(read=state.durable, answering="", tidied=False)

    def _sender(self, state: State) -> Iterator[tuple[Step, State]]:
        if not state.recorded and not state.sending:
            yield ("the sender records its message",), state._replace(recorded=True, sending=True)
            if not self.has("recorded before sent"):
                yield ("the sender sends first",), state._replace(sending=True)
        if state.sending and state.sends:
            inbox = (*state.inbox, state.now)
            yield ("the message lands",), state._replace(sending=False, inbox=inbox, sends=state.sends - 1)
        if state.recorded and not state.verdict and not state.sending:
            yield ("the sender asks again",), state._replace(sending=True)
        if state.results:
            taken = state.result + 1 if not state.result or not self.has("results count once") else state.result
            verdict = state.verdict or TAKEN
            yield (
                ("the sender takes in a result",),
                state._replace(results=state.results - 1, result=taken, verdict=verdict),
            )

    def _receiver(self, state: State) -> Iterator[tuple[Step, State]]:
        if state.answering:
            verdict = state.verdict or state.answering
            yield ("the answer arrives:", state.answering), state._replace(answering="", verdict=verdict)
        elif state.read < len(state.inbox):
            yield ("the receiver reads copy", state.read), self._read(state)
            if not self.has("taken in before answered") and state.run > 0:
                answering = state._replace(read=state.read + 1, answering=TAKEN)
                yield ("the receiver answers copy", state.read, "and writes nothing"), answering
        if state.run > 0 and state.times_taken and state.runs:
            forgets = not self.has("memory outlives runs") or self._forgets(state)
            after = self._closed(state, forgets=forgets)
            yield ("the receiver continues as new",), after._replace(runs=state.runs - 1, run=state.run + 1)
        if state.run > 0:
            forgets = not self.has("memory outlives the end") or self._forgets(state)
            after = self._closed(state, forgets=forgets)
            yield ("the receiver closes",), after._replace(run=-1, result_due=self.child)
        if state.result_due:
            yield ("the result is sent",), state._replace(result_due=False, results=state.results + 1)
            if state.crashes:
                again = state._replace(results=state.results + 1, crashes=state.crashes - 1)
                yield ("the result is sent, and the receiver's owner stops",), again
        if state.remembered and self._forgets(state):
            yield ("the receiver tidies its memory",), state._replace(tidied=True)

    @staticmethod
    def _closed(state: State, *, forgets: bool) -> State:
        """The summary says what is remembered, and its x is past what the run has taken in."""
        return state._replace(remembered=state.remembered and not forgets, durable=state.read)

    def _forgets(self, state: State) -> bool:
        if self.has("memory by the inbox's time"):
            return state.read > 0 and state.inbox[state.read - 1] > EXPIRES
        return state.now > EXPIRES

    def _read(self, state: State) -> State:
        offset = state.read
        after = state._replace(read=offset + 1)
        answered = ""
        if state.run > 0 and offset <= state.run_offset:
            return after
        remembered = state.remembered and not state.tidied
        if remembered and self.has("numbers are remembered"):
            answered = TAKEN
        elif state.inbox[offset] > EXPIRES and self._refuses_late(state):
            answered = LATE
        elif state.run > 0 or (self.child and state.run == 0):
            # The event is durable with this step, and x of the record says what was decided before it.
            run = state.run if state.run > 0 else 1
            taken = after._replace(times_taken=state.times_taken + 1, remembered=True, run=run, run_offset=offset)
            return taken._replace(answering=TAKEN, durable=max(state.durable, offset))
        else:
            answered = CLOSED
        return after._replace(answering=answered)

    def _refuses_late(self, state: State) -> bool:
        if not self.has("late messages are refused"):
            return False
        return state.run > 0 or self.has("late before closed")

    def broken(self, state: State) -> str | None:
        if state.times_taken > 1:
            return "a message was taken in twice"
        if state.times_taken and not state.recorded:
            return "a message was taken in that its sender knows nothing of"
        if state.verdict == TAKEN and not state.times_taken:
            return "a message counts as taken in, and was not"
        if state.verdict == CLOSED and state.times_taken:
            return "a message counts as not taken in, and was"
        if state.result > 1:
            return "a child's result was taken in twice"
        return None
