"""What goes wrong: each kind of trouble is a function that says whether it found anything to trouble."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from tests.simulation.host import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

CODEC: Final = Codec()
SKEW_MS: Final = 1500
OFTEN: Final = (0.02, 0.03, 0.08)
"""Of the steps, how many bring trouble; each seed has one of these."""
ORCHESTRATORS: Final = 3
WORKERS: Final = 2

Kind = Callable[["World"], bool]


def _one_of(world: World, *groups: list[Any]) -> Process | None:
    alive = [m.process for members in groups for m in members if m.process.alive and not m.process.paused_until]
    return world.chance.choice(alive) if alive else None


def _everybody(world: World) -> Process | None:
    fleet = world.fleet
    return _one_of(world, fleet.orchestrators, fleet.workers, fleet.customers)


def orchestrator_dies(world: World) -> bool:
    return _dies(world, _one_of(world, world.fleet.orchestrators))


def worker_dies(world: World) -> bool:
    return _dies(world, _one_of(world, world.fleet.workers))


def customer_dies(world: World) -> bool:
    return _dies(world, _one_of(world, world.fleet.customers))


def _dies(world: World, process: Process | None) -> bool:
    """Now, or between two of the next calls of whatever is outside of it."""
    if process is None:
        return False
    if world.chance.random() < 0.3:
        process.note("DIES")
        process.die()
    else:
        process.dies_in = world.chance.randrange(30)
    return True


def orchestrator_comes(world: World) -> bool:
    members = world.fleet.orchestrators
    if sum(member.process.alive for member in members) >= ORCHESTRATORS:
        return False
    world.fleet.orchestrator().process.note("COMES")
    return True


def worker_comes(world: World) -> bool:
    if sum(member.process.alive for member in world.fleet.workers) >= WORKERS:
        return False
    world.fleet.worker().process.note("COMES")
    return True


def orchestrator_leaves(world: World) -> bool:
    staying = [m for m in world.fleet.orchestrators if m.process.runs and not m.orchestrator._stop.is_set()]
    if not staying:
        return False
    leaving = world.chance.choice(staying)
    leaving.process.note("is asked to LEAVE")
    leaving.orchestrator.stop()
    return True


def worker_leaves(world: World) -> bool:
    staying = [m for m in world.fleet.workers if m.process.runs and m.worker.is_ready]
    if not staying:
        return False
    leaving = world.chance.choice(staying)
    leaving.process.note("is asked to LEAVE")
    leaving.stop()
    return True


def pause(world: World) -> bool:
    """For a moment, or for longer than its session lasts: what goes on then is a zombie."""
    process = _everybody(world)
    if process is None:
        return False
    process.pause(world.chance.choice((0.5, 8, 8, 15, 40)))
    return True


def slow_down(world: World) -> bool:
    process = _everybody(world)
    if process is None:
        return False
    process.slow = not process.slow
    return True


def clock_jumps(world: World) -> bool:
    process = _everybody(world)
    if process is None:
        return False
    process.skew_ms = world.chance.randrange(-2 * SKEW_MS, 2 * SKEW_MS)
    process.note("CLOCK is off by", process.skew_ms, "ms")
    return True


def _with_appender(world: World, act: Callable[[Any], bool]) -> bool:
    appenders = list(world.broker.appenders)
    return bool(appenders) and act(world.chance.choice(appenders))


def resend(world: World) -> bool:
    return _with_appender(world, lambda appender: appender.resend())


def lose_track(world: World) -> bool:
    return _with_appender(world, lambda appender: appender.lose_track())


def worker_loses_track(world: World) -> bool:
    """Of the next thing that it has to say."""
    process = _one_of(world, world.fleet.workers)
    if process is None:
        return False
    for appender in world.fleet.logs[process.name].appenders:
        appender.doomed = True
    return True


def leader_changes(world: World) -> bool:
    return world.broker.change_leader()


def retention(world: World) -> bool:
    return world.broker.retire()


def tasks_expire(world: World) -> bool:
    """Also those that nobody has read: they are issued again in time, or else they are never done."""
    taken = [CODEC.decode(r.TaskRecord, record.value or b"") for record in world.broker.expire_tasks()]
    began = set(world.attempts)
    lost = [task for task in taken if (task.run_id, task.seq, task.attempt) not in began]
    world.hosts.note("RETENTION has taken tasks:", len(taken), "of which nobody has begun", len(lost))
    world.hosts.happened["task lost unread"] += len(lost)
    return bool(taken)


def compaction(world: World) -> bool:
    world.broker.compact()
    return True


def disk_is_lost(world: World) -> bool:
    return world.disks.lose()


def old_disk_comes_back(world: World) -> bool:
    return world.disks.age()


def time_passes(world: World) -> bool:
    world.hosts.now += world.chance.choice((1, 5, 20))
    return True


KINDS: Final[dict[Kind, int]] = {
    orchestrator_dies: 3,
    orchestrator_comes: 8,
    orchestrator_leaves: 1,
    worker_dies: 1,
    worker_comes: 4,
    worker_leaves: 1,
    customer_dies: 1,
    pause: 4,
    slow_down: 1,
    clock_jumps: 2,
    resend: 4,
    lose_track: 1,
    worker_loses_track: 2,
    leader_changes: 3,
    retention: 1,
    tasks_expire: 1,
    compaction: 4,
    disk_is_lost: 1,
    old_disk_comes_back: 2,
    time_passes: 1,
}
COMINGS: Final = (orchestrator_comes, worker_comes)


class Weather:
    """Which trouble this seed has, and how much of each."""

    def __init__(self, world: World) -> None:
        self._world, chance = world, world.chance
        self.kinds = list(KINDS)
        self._often = chance.choice(OFTEN)
        self.weights = [KINDS[kind] * (1 if kind in COMINGS else chance.choice((0, 1, 1, 3))) for kind in self.kinds]

    def strike(self) -> None:
        world = self._world
        if world.chance.random() >= self._often:
            return
        kind = world.chance.choices(self.kinds, self.weights)[0]
        if kind(world):
            world.hosts.happened[kind.__name__] += 1
