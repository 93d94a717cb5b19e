"""Panels and dashboards as Grafana reads them. In expressions ``{N}`` is the selection of namespaces.

Like ``{N, phase="live"}``, which adds to it. What a panel shows stands in ``make_dashboards.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
WIDTH: Final = 24
COLUMNS_SHORT: Final = 4
"""Height of a row of numbers."""
COLUMNS_TALL: Final = 8
GOOD, WARN, BAD = "green", "orange", "red"
UNKNOWN: Final = "-"
GRAFANA: Final = "11.5.2"
"""Whose options these are. Later ones migrate panels from there; one that names no version they take for ancient."""

Json = dict[str, Any]


def rate(metric: str, by: str = "") -> str:
    """Per second, of a counter; ``metric`` may have a selection of its own."""
    return _by("sum", by, f"rate({_selected(metric)}[$__rate_interval])")


def recent(metric: str, by: str = "") -> str:
    """How often within five minutes, of a counter of what should be rare."""
    return _by("sum", by, f"increase({_selected(metric)}[5m])")


def total(metric: str, by: str = "") -> str:
    return _by("sum", by, _selected(metric))


def most(metric: str, by: str = "") -> str:
    return _by("max", by, _selected(metric))


def or_zero(expression: str) -> str:
    """0 where it has nothing to say, but only while orchestrators say anything."""
    return f"({expression}) or sum(0 * odradek_namespace_partitions{{N}})"


def quantile(share: float, metric: str, by: str = "") -> str:
    """Of a histogram in seconds, over the last minutes."""
    grouped = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', grouped)})"


def quantiles(metric: str) -> dict[str, str]:
    return {f"{share:.0%}": quantile(share, metric) for share in (0.5, 0.95, 0.99)}


def lines(
    title: str, about: str, shown: dict[str, str], unit: str = "short", *, stacked: bool = False, empty: str = ""
) -> Json:
    """A graph over time. ``shown``: what the legend says, with labels as ``{{label}}``, and the expression.

    ``empty``: what stands there instead of "No data" where it is well that there is none.
    """
    custom: Json = {"lineWidth": 1, "fillOpacity": 25 if stacked else 8, "showPoints": "auto"}
    if stacked:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    defaults: Json = {"unit": unit, "min": 0, "custom": custom}
    if empty:
        defaults["noValue"] = empty
    return {
        **_panel("timeseries", title, about, shown),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def number(
    title: str,
    about: str,
    expression: str,
    unit: str = "short",
    *,
    warn: float | None = None,
    bad: float | None = None,
    empty: str = UNKNOWN,
) -> Json:
    """One number of now, coloured from ``warn`` and ``bad`` on.

    ``empty``: what stands there where there is none; in no colour, unless it says that all is well.
    """
    steps: list[Json] = [{"color": GOOD, "value": None}]
    steps += [{"color": color, "value": at} for color, at in ((WARN, warn), (BAD, bad)) if at is not None]
    defaults: Json = {"unit": unit, "noValue": empty, "thresholds": {"mode": "absolute", "steps": steps}}
    if empty == UNKNOWN:
        neutral = {"match": "null", "result": {"color": "text", "index": 0}}
        defaults["mappings"] = [{"type": "special", "options": neutral}]
    return {
        **_panel("stat", title, about, {"": expression}, instant=True),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"colorMode": "value", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}},
    }


def dashboard(name: str, title: str, about: str, rows: Sequence[tuple[str, Sequence[Json]]]) -> Json:
    """``rows``: each with its heading and its panels, which share its width."""
    panels: list[Json] = []
    y = 0
    for heading, row in rows:
        panels.append(
            {"type": "row", "title": heading, "collapsed": False, "panels": [], "gridPos": _at(0, y, WIDTH, 1)}
        )
        y += 1
        height = COLUMNS_SHORT if all(panel["type"] == "stat" for panel in row) else COLUMNS_TALL
        edges = [WIDTH * place // len(row) for place in range(len(row) + 1)]
        panels += [
            {**panel, "gridPos": _at(left, y, right - left, height)}
            for panel, (left, right) in zip(row, pairwise(edges), strict=True)
        ]
        y += height
    return {
        "uid": f"odradek-{name}",
        "title": f"odradek / {title}",
        "description": about,
        "tags": ["odradek"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "links": [
            {"type": "dashboards", "tags": ["odradek"], "title": "odradek", "asDropdown": True, "keepTime": True,
             "includeVars": True, "icon": "external link", "targetBlank": False, "tooltip": ""},
        ],
        "templating": {"list": [_datasource(), _namespace()]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, 1)],
    }  # fmt: skip


def _selected(metric: str) -> str:
    return metric if "{" in metric else metric + "{N}"


def _by(function: str, by: str, inner: str) -> str:
    return f"{function} by ({by}) ({inner})" if by else f"{function}({inner})"


def _panel(kind: str, title: str, about: str, shown: dict[str, str], *, instant: bool = False) -> Json:
    targets = [
        {
            "refId": chr(ord("A") + place),
            "datasource": SOURCE,
            "expr": expression.replace("{N", '{namespace=~"$namespace"'),
            "legendFormat": legend,
            "instant": instant,
            "range": not instant,
        }
        for place, (legend, expression) in enumerate(shown.items())
    ]
    return {
        "type": kind,
        "pluginVersion": GRAFANA,
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "targets": targets,
    }


def _at(x: int, y: int, w: int, h: int) -> Json:
    return {"x": x, "y": y, "w": w, "h": h}


def _datasource() -> Json:
    """Begins with Grafana's default one, which it offers only to whom it is named so; else with the first by name."""
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {"text": "default", "value": "default"},
    }


def _namespace() -> Json:
    query = 'label_values({__name__=~"odradek_(namespace_partitions|activity_slots)"}, namespace)'
    return {
        "name": "namespace",
        "label": "Namespace",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": "namespaces"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }
