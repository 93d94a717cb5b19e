"""The history of a run as a story: one line for each event, with what it means. Decides nothing, asks nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Final

from odradek.cli.standing import duration, shorten
from odradek.schemas import records as r

if TYPE_CHECKING:
    from rich.table import Table

    from odradek.client import WorkflowHistory

VALUE_LENGTH_MAX: Final = 60
_STYLES: Final = {"failed": "red", "timed out": "red", "terminated": "red", "cancel": "yellow", "completed": "green"}


@dataclass(frozen=True, slots=True)
class Line:
    """One event in words; ``step`` names the activity, timer, signal, … that it is about."""

    event: str
    step: str = ""
    attempt: int | None = None
    details: str = ""


def history_table(history: WorkflowHistory, zone: tzinfo | None = None) -> Table:
    """The readable history. Times are shown in ``zone``, by default the local one."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f'Workflow "{escape(history.workflow_id)}", run {history.run_id or "?"}', box=box.SIMPLE_HEAD)
    table.title_justify = "left"
    table.add_column("#", justify="right", style="dim")
    table.add_column("time", no_wrap=True, style="dim")
    table.add_column("event", no_wrap=True)
    table.add_column("step", style="bold", overflow="fold")
    table.add_column("attempt", justify="right")
    table.add_column("details", overflow="fold")
    previous = None
    for number, (event, line) in enumerate(zip(history.events, lines(history.events), strict=True), 1):
        moment = datetime.fromtimestamp(event.time_ms / 1000, UTC).astimezone(zone)
        shown = f"{moment:%H:%M:%S}.{event.time_ms % 1000:03}"
        if moment.date() != previous:
            shown = f"{moment:%Y-%m-%d} {shown}"
        previous = moment.date()
        style = next((style for word, style in _STYLES.items() if word in line.event.lower()), None)
        attempt = "" if line.attempt is None else str(line.attempt)
        cells = [escape(cell) for cell in (line.event, line.step)]
        table.add_row(str(number), shown, *cells, attempt, escape(line.details), style=style)
    return table


def lines(events: Sequence[r.Event]) -> list[Line]:
    """One line for each event, in order."""
    teller = _Teller()
    return [teller.tell(event) for event in events]


class _Teller:
    """Remembers what each number stands for, since later events only repeat the number."""

    def __init__(self) -> None:
        self._steps: dict[int, str] = {}
        self._updates: dict[str, str] = {}
        self._queue = ""

    def tell(self, event: r.Event) -> Line:
        line = self._line(event.body, event.time_ms)
        if event.deferred:
            return Line(line.event, line.step, line.attempt, _joined(line.details, "recorded while the run was parked"))
        return line

    def _line(self, body: r.EventBody, time_ms: int) -> Line:
        match body:
            case r.RunStarted() | r.RequestJoined() | r.RequestRefused():
                return self._start(body)
            case r.SignalReceived() | r.CancelRequested() | r.DeferredApplied():
                return _input(body)
            case r.ActivityScheduled() | r.ActivityCompleted() | r.ActivityFailed() | r.ActivityCancelRequested():
                return self._activity(body, time_ms)
            case r.TimerStarted() | r.TimerFired() | r.TimerCancelled():
                return self._timer(body, time_ms)
            case r.MessageSent() | r.MessageAnswered():
                return self._message(body)
            case r.ChildScheduled() | r.ChildStarted() | r.ChildStartFailed() | r.ChildClosed():
                return self._child(body)
            case r.UpdateAccepted() | r.UpdateRejected() | r.UpdateCompleted():
                return self._update(body)
            case r.StepEnded() | r.VersionMarked() | r.VersionTaken() | r.SearchAttributesUpserted() | r.MemoUpserted():
                return _note(body, time_ms)
            case _:
                return _end(body)

    def _start(self, body: r.RunStarted | r.RequestJoined | r.RequestRefused) -> Line:
        match body:
            case r.RunStarted():
                self._queue = body.task_queue
                delay = f"begins in {duration(body.start_delay_ms / 1000)}" if body.start_delay_ms else ""
                by = f"by {body.identity}" if body.identity else ""
                attempt = body.attempt if body.attempt > 1 else None
                details = _joined(_values(body.input), f"queue {body.task_queue}", delay, by)
                return Line("Workflow started", body.workflow_type, attempt, details)
            case r.RequestJoined():
                return Line("Start request joined", "", None, f"request {body.request.id}")
            case r.RequestRefused():
                text = body.message if body.message.startswith(body.code) else f"{body.code}: {body.message}"
                return Line("Request refused", "", None, text)

    def _activity(
        self,
        body: r.ActivityScheduled | r.ActivityCompleted | r.ActivityFailed | r.ActivityCancelRequested,
        time_ms: int,
    ) -> Line:
        step = self._steps.get(body.seq, f"activity {body.seq}")
        match body:
            case r.ActivityScheduled():
                self._steps[body.seq] = body.activity_type
                queue = f"queue {body.task_queue}" if body.task_queue != self._queue else ""
                return Line(
                    "Activity scheduled", body.activity_type, None, _joined(body.summary, _values(body.input), queue)
                )
            case r.ActivityCompleted():
                result = _result(body.result)
                earlier = f"before: {failure_words(body.last_failure)}" if body.last_failure else ""
                details = _joined(result, _took(body.started_ms, time_ms), earlier)
                return Line("Activity completed", step, body.attempt, details)
            case r.ActivityFailed():
                ended = {r.FailureKind.CANCELLED: "cancelled", r.FailureKind.TIMEOUT: "timed out"}
                word = ended.get(r.FailureKind(body.failure.kind), "failed")
                why = body.retry_state.replace("-", " ") if body.retry_state else ""
                return Line(f"Activity {word}", step, body.attempt, _joined(failure_words(body.failure), why))
            case r.ActivityCancelRequested():
                return Line("Activity asked to cancel", step)

    def _timer(self, body: r.TimerStarted | r.TimerFired | r.TimerCancelled, time_ms: int) -> Line:
        match body:
            case r.TimerStarted():
                step = self._steps[body.seq] = body.summary or f"timer {body.seq}"
                return Line("Timer started", step, None, f"fires in {duration((body.due_ms - time_ms) / 1000)}")
            case r.TimerFired():
                return Line("Timer fired", self._steps.get(body.seq, f"timer {body.seq}"))
            case r.TimerCancelled():
                return Line("Timer cancelled", self._steps.get(body.seq, f"timer {body.seq}"))

    def _message(self, body: r.MessageSent | r.MessageAnswered) -> Line:
        match body:
            case r.MessageSent():
                step = self._steps[body.seq] = body.name or "cancel"
                event = "Cancel request sent" if body.name is None else "Signal sent"
                to = f'to workflow "{body.workflow_id}"'
                return Line(event, step, None, _joined(to, _values(body.input), body.reason))
            case r.MessageAnswered():
                answer = "refused: " + failure_words(body.failure) if body.failure else "taken in"
                return Line("Message answered", self._steps.get(body.seq, f"message {body.seq}"), None, answer)

    def _child(self, body: r.ChildScheduled | r.ChildStarted | r.ChildStartFailed | r.ChildClosed) -> Line:
        step = self._steps.get(body.seq, f"child {body.seq}")
        match body:
            case r.ChildScheduled():
                step = self._steps[body.seq] = body.workflow_type
                where = f"namespace {body.namespace}" if body.namespace else ""
                return Line("Child scheduled", step, None, _joined(f'"{body.workflow_id}"', where, _values(body.input)))
            case r.ChildStarted():
                return Line("Child started", step, None, f"run {body.run_id}")
            case r.ChildStartFailed():
                return Line("Child not started", step, None, failure_words(body.failure))
            case r.ChildClosed():
                outcome = failure_words(body.failure) if body.failure else _result(body.result)
                return Line(f"Child {body.status}", step, None, outcome)

    def _update(self, body: r.UpdateAccepted | r.UpdateRejected | r.UpdateCompleted) -> Line:
        match body:
            case r.UpdateAccepted():
                self._updates[body.update_id] = body.name
                return Line("Update accepted", body.name, None, _joined(_values(body.input), _from(body)))
            case r.UpdateRejected():
                return Line("Update rejected", body.name, None, failure_words(body.failure))
            case r.UpdateCompleted():
                outcome = failure_words(body.failure) if body.failure else _result(body.result)
                event = "Update failed" if body.failure else "Update completed"
                return Line(event, self._updates.get(body.update_id, body.update_id), None, outcome)


def _input(body: r.SignalReceived | r.CancelRequested | r.DeferredApplied) -> Line:
    match body:
        case r.SignalReceived(name, input):
            return Line("Signal received", name, None, _joined(_values(input), _from(body)))
        case r.CancelRequested(reason):
            return Line("Cancel requested", "", None, _joined(reason, _from(body)))
        case r.DeferredApplied(remaining):
            return Line("Parked input applied", "", None, f"{remaining} more to come" if remaining else "")


def _note(
    body: r.StepEnded | r.VersionMarked | r.VersionTaken | r.SearchAttributesUpserted | r.MemoUpserted, time_ms: int
) -> Line:
    match body:
        case r.StepEnded(_, name, result, attempt, started_ms, failure):
            outcome = failure_words(failure) if failure else _result(result)
            event = "Step failed" if failure else "Step completed"
            return Line(event, name, attempt, _joined(outcome, _took(started_ms, time_ms)))
        case r.VersionMarked(change_id, version):
            return Line("Version marked", change_id, None, f"version {version}")
        case r.VersionTaken(version):
            return Line("Version taken", version)
        case r.SearchAttributesUpserted(attributes):
            return Line("Search attributes set", "", None, _fields(attributes))
        case r.MemoUpserted(memo):
            return Line("Memo set", "", None, _fields(memo))


def _end(
    body: r.RunCompleted | r.RunFailed | r.RunCancelled | r.RunTerminated | r.RunTimedOut | r.RunContinued,
) -> Line:
    following = getattr(body, "next", None)
    then = f"run {following.run_id} follows" if following else ""
    match body:
        case r.RunCompleted(result):
            return Line("Workflow completed", details=_joined(_result(result), then))
        case r.RunFailed(failure):
            return Line("Workflow failed", details=_joined(failure_words(failure), then))
        case r.RunContinued():
            return Line("Workflow continued as new", details=then)
        case r.RunCancelled(details):
            return Line("Workflow cancelled", details=_values(details))
        case r.RunTerminated():
            by = f"by {body.identity}" if body.identity else ""
            return Line("Workflow terminated", details=_joined(body.reason, _values(body.details), by))
        case r.RunTimedOut(timeout_type):
            return Line("Workflow timed out", details=_joined(timeout_type, then))


def value(payload: r.Payload) -> str:
    """A payload for a line: JSON as it stands, anything else by its size."""
    if payload.encoding == "json/plain":
        return shorten(payload.data.decode(errors="replace"), VALUE_LENGTH_MAX)
    if not payload.data:
        return "null" if "null" in payload.encoding else f"<{payload.encoding}>"
    return f"<{payload.encoding}, {len(payload.data)} bytes>"


def failure_words(failure: r.Failure | None) -> str:
    """``CardDeclined: no funds``; causes follow after an arrow."""
    parts: list[str] = []
    while failure is not None:
        kind = failure.type or failure.kind.replace("-", " ")
        parts.append(f"{kind}: {shorten(failure.message, 120)}" if failure.message else kind)
        failure = failure.cause
    return " ← ".join(parts)


def _values(payloads: Sequence[r.Payload]) -> str:
    return f"({', '.join(value(payload) for payload in payloads)})" if payloads else ""


def _result(payload: r.Payload | None) -> str:
    return "" if payload is None else f"→ {value(payload)}"


def _fields(payloads: Mapping[str, r.Payload]) -> str:
    return ", ".join(f"{name}={value(payload)}" for name, payload in payloads.items())


def _from(body: r.SignalReceived | r.CancelRequested | r.UpdateAccepted) -> str:
    origin = getattr(body, "origin", None)
    if origin is not None:
        return f'from workflow "{origin.workflow_id}"'
    identity = getattr(body, "identity", "")
    return f"by {identity}" if identity else ""


def _took(started_ms: int, ended_ms: int) -> str:
    return f"took {duration((ended_ms - started_ms) / 1000)}" if 0 < started_ms <= ended_ms else ""


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
