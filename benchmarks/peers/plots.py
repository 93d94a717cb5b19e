"""A run as plots, in SVG: throughput, CPU time, latencies, and what a step costs as load and history grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.peers.load import STEPS
from benchmarks.peers.results import Measurement, Run, spread
from benchmarks.peers.table import KINDS, PROCESSES, cpu_of

PALETTE = mpl.colormaps["tab10"].colors  # type: ignore[attr-defined]  # only some maps have a list
COLOURS = dict(zip(CONTESTANTS, PALETTE, strict=False))
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "odradek",  # the same results give the same file
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "white",
}
WIDTH_INCHES = 10.0
CROWDED = 1_000
"""From this ratio of its ends on an axis has room for powers of ten only."""


def draw(run: Run, folder: Path) -> dict[str, Path]:
    """Writes the plots for which there are figures. Their files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for name, plot in PLOTS.items():
        with mpl.rc_context(STYLE):
            figure = plot(run)
            if figure is None:
                continue
            written[name] = folder / f"{name}.svg"
            figure.savefig(written[name], bbox_inches="tight", metadata={"Date": None, "Creator": None})
    return written


def throughput(run: Run) -> Figure | None:
    """Bars: the median, with a line from the slowest repeat to the quickest."""

    def bars(axes: Axes, found: list[Measurement]) -> None:
        for place, measurement in enumerate(found):
            low, middle, high = spread(measurement.values("per_second"))
            axes.barh(place, middle, color=COLOURS[measurement.contestant])
            axes.plot([low, high], [place, place], color="black", linewidth=1)
            axes.annotate(f" {middle:,.0f}", (high, place), va="center")
        named(axes, run, found)
        axes.set_xscale("log")
        axes.set_xlim(left=10)
        scaled(axes.xaxis)
        axes.set_xlabel("steps/s (logarithmic)")

    return by_kind(run, "chain", bars)


def cpu(run: Run) -> Figure | None:
    """Bars of the CPU time of a step, split by process."""

    def bars(axes: Axes, found: list[Measurement]) -> None:
        left = [0.0] * len(found)
        for number, process in enumerate(PROCESSES):
            widths = [sum(cpu_of(measurement, process)) for measurement in found]
            if any(widths):
                axes.barh(range(len(found)), widths, left=left, color=PALETTE[number], label=process)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        for place, total in enumerate(left):
            axes.annotate(f" {total:.2f}", (total, place), va="center")
        named(axes, run, found)
        axes.set_xlabel("CPU s per 1,000 steps (or ms a step)")

    return by_kind(run, "chain", bars)


def latency(run: Run) -> Figure | None:
    """How many of the workflows are as quick as that: one at a time, and dashed at half load."""

    def curves(axes: Axes, found: list[Measurement]) -> None:
        for measurement in found:
            half = run.find(measurement.contestant, "half_load", measurement.kind)
            for one, line in ((measurement, "-"), (half, "--")):
                if one is None:
                    continue
                steps = sorted(ms / STEPS for sample in one.samples for ms in sample.latencies_ms)
                shares = [(n + 1) / len(steps) * 100 for n in range(len(steps))]
                label = title(run, one) if line == "-" else None
                axes.plot(steps, shares, line, color=COLOURS[one.contestant], label=label, linewidth=1.3)
        axes.set_xscale("log")
        scaled(axes.xaxis)
        axes.set_xlabel("ms a step; dashed: at half load")
        axes.set_ylabel("% of workflows")

    return by_kind(run, "latency", curves)


def load(run: Run) -> Figure | None:
    """CPU time of a step, over the number of callers."""
    return by_kind(
        run, "load", lambda axes, found: growth(axes, run, found, "callers", "cpu_per_1000", "CPU ms a step")
    )


def callers(run: Run) -> Figure | None:
    """Steps per second, over the number of callers."""
    return by_kind(run, "load", lambda axes, found: growth(axes, run, found, "callers", "per_second", "steps/s"))


def history(run: Run) -> Figure | None:
    """Time of a step, over the number of steps of one workflow."""

    def curves(axes: Axes, found: list[Measurement]) -> None:
        for measurement in found:
            taken = [1000 / rate for rate in measurement.values("per_second")]
            line(axes, run, measurement, measurement.values("steps"), taken)
        logarithmic(axes, "steps of one workflow", "ms a step")

    return by_kind(run, "history", curves)


PLOTS: dict[str, Callable[[Run], Figure | None]] = {
    "throughput": throughput,
    "cpu": cpu,
    "latency": latency,
    "load": load,
    "callers": callers,
    "history": history,
}


def by_kind(run: Run, work: str, plot: Callable[[Axes, list[Measurement]], None]) -> Figure | None:
    """A plot for remote steps beside one for those in process; None where there are no figures."""
    found = {kind: list(measured(run, work, kind)) for kind in KINDS}
    found = {kind: measurements for kind, measurements in found.items() if measurements}
    if not found:
        return None
    figure = Figure(figsize=(WIDTH_INCHES, 4.2), layout="constrained")
    for number, (kind, measurements) in enumerate(found.items(), 1):
        axes = figure.add_subplot(1, len(found), number)
        axes.set_title(f"steps: {KINDS[kind]}")
        plot(axes, measurements)
    explained(figure)
    return figure


def measured(run: Run, work: str, kind: str) -> Iterator[Measurement]:
    for entrant in run.entrants:
        found = run.find(entrant.name, work, kind)
        if found is not None:
            yield found


def title(run: Run, measurement: Measurement) -> str:
    return next(entrant.title for entrant in run.entrants if entrant.name == measurement.contestant)


def named(axes: Axes, run: Run, found: list[Measurement]) -> None:
    """Contestants along the vertical axis, the first one on top."""
    axes.set_yticks(range(len(found)), [title(run, measurement) for measurement in found])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.grid(visible=False, axis="y")


def growth(axes: Axes, run: Run, found: list[Measurement], across: str, up: str, label: str) -> None:
    for measurement in found:
        line(axes, run, measurement, measurement.values(across), measurement.values(up))
    logarithmic(axes, across, label)


def line(axes: Axes, run: Run, measurement: Measurement, x: list[float], y: list[float]) -> None:
    axes.plot(x, y, "o-", color=COLOURS[measurement.contestant], label=title(run, measurement), markersize=3)


def logarithmic(axes: Axes, x: str, y: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    scaled(axes.xaxis)
    scaled(axes.yaxis)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def scaled(axis: Axis) -> None:
    """Ticks of a logarithmic axis in plain numbers."""
    axis.axes.autoscale_view()
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < CROWDED else (1,)))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_formatter(NullFormatter())


def explained(figure: Figure) -> None:
    """One legend for all of a figure, below it."""
    labels: dict[str, Artist] = {}
    for axes in figure.axes:
        handles, names = axes.get_legend_handles_labels()
        labels.update(zip(names, handles, strict=True))
    if labels:
        handles, columns = list(labels.values()), min(5, len(labels))
        figure.legend(handles=handles, labels=list(labels), loc="outside lower center", ncols=columns)
