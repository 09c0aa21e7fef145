"""Curves and bars as PNG, in one style.

Every function makes its own `Figure` and leaves no state behind, so plots can be drawn from any thread. The
palette (Okabe and Ito 2008) can be told apart by colour-blind readers; lines carry their names at their
ends unless there are too many. Text is drawn as it is, never as mathematics.

Size: 6.5 in wide at 144 dpi, i.e. 936 pixels that a page shows at 624.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from visionsmith.report.lettering import drawable
from visionsmith.report.page import PLOT_MARK
from visionsmith.report.tables import aligned, short

__all__ = ["DPI", "PALETTE", "bars", "curves", "error_curve"]

DPI = 144
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Blue, vermillion, green, purple, orange, sky: the order in which series take their colours."""

WIDTH, HEIGHT = 6.5, 3.75  # inches
INK, SOFT, LINE, REFERENCE = "#1b1d20", "#5c636c", "#e2e4e7", "#7a828c"
FONT = "DejaVu Sans"
MAX_DIRECT_LABELS = 12
_PLAIN: dict[str, Any] = {"fontfamily": FONT, "parse_math": False}
_ERROR_BAR: dict[str, Any] = {"fmt": "none", "ecolor": INK, "elinewidth": 1.2, "capsize": 3}

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _EndLabel:
    """A name to the right of the axes, at the height of `value`."""

    text: str
    colour: str
    value: float


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x: str,
    y: str,
    title: str = "",
    log_x: bool = False,
    log_y: bool = False,
    smooth: float | None = None,
    baseline: tuple[str, float] | None = None,
) -> bytes:
    """Lines over a common axis, each named at its end (in a legend where there are more than twelve).

    Args:
        series: by name, the x and y values; a value that is not finite leaves a gap.
        x: what the x axis shows, with its unit.
        y: what the y axis shows, with its unit.
        title: above the plot.
        log_x: logarithmic x axis; values that are not positive leave a gap.
        log_y: the same for the y axis.
        smooth: in [0, 1): how slowly the weight of the neighbours falls, a point further away each time, in
            a local fit that looks to both sides and so does not lag; the raw values stay visible behind it.
        baseline: name and value of a dashed reference line.

    Returns:
        PNG bytes, 936 x 540 pixels.
    """
    assert series, "no series to draw"
    assert smooth is None or 0 <= smooth < 1, f"smooth = {smooth} is not in [0, 1)"
    figure, axes = _figure(HEIGHT)
    labels: list[_EndLabel] = []
    for index, (name, (across, up)) in enumerate(series.items()):
        xs, ys = np.asarray(across, np.float64), np.asarray(up, np.float64)
        assert xs.shape == ys.shape, f"'{name}' has {xs.size} x and {ys.size} y values"
        drawn = np.isfinite(xs) & np.isfinite(ys) & ((xs > 0) | (not log_x)) & ((ys > 0) | (not log_y))
        ys = np.where(drawn, ys, np.nan)
        colour = PALETTE[index % len(PALETTE)]
        style: dict[str, Any] = {"color": colour, "linestyle": "-" if index < len(PALETTE) else "--"}
        if smooth:
            axes.plot(xs, ys, color=colour, linewidth=0.8, alpha=0.28)
            ys = _smoothed(ys, smooth)
        if xs.size <= 12:
            style |= {"marker": "o", "markersize": 4}
        axes.plot(xs, ys, linewidth=1.8, label=drawable(name), solid_joinstyle="round", **style)
        if (finite := np.flatnonzero(np.isfinite(ys))).size:
            labels.append(_EndLabel(name, colour, float(ys[finite[-1]])))
    _scale(axes, log_x=log_x and bool(labels), log_y=log_y and bool(labels))
    if not labels:
        axes.text(0.5, 0.5, "no values to draw", transform=axes.transAxes, ha="center", color=SOFT)
        axes.set(xticks=[], yticks=[])
    if len(series) == 1 and labels and labels[0].text in y:
        labels = []  # the axis says it already
    if len(series) > MAX_DIRECT_LABELS:
        axes.legend(fontsize=8, labelcolor=INK, ncols=3, handlelength=1.4, edgecolor="none")
        labels = []
    if baseline is not None:
        labels += _reference(axes, *baseline, across=True)
    return _finish(figure, axes, x=x, y=y, title=title, labels=labels)


def bars(
    values: Mapping[str, float],
    *,
    y: str,
    title: str = "",
    baseline: tuple[str, float] | None = None,
    errors: Mapping[str, float] | None = None,
    percent: bool = False,
) -> bytes:
    """One bar a name with its value written at its end; lying bars where the names are long or many.

    Args:
        values: by name; a share of one where `percent`.
        y: what the bars show, with its unit.
        title: above the plot.
        baseline: name and value of a dashed reference line, e.g. chance.
        errors: by name, half the length of the error bar, in the unit of the values.
        percent: write shares as percentages.

    Returns:
        PNG bytes, 936 pixels wide; 540 high, or as many as lying bars need.
    """
    assert values, "no bars to draw"
    unknown = set(errors or ()) - set(values)
    assert not unknown, f"errors for {sorted(unknown)}, which have no bar"
    names = [_shorten(drawable(name), 34) for name in values]
    sizes = np.array([*values.values()], np.float64)
    spread = np.array([(errors or {}).get(name, math.nan) for name in values])
    upright = len(names) <= 8 and max(map(len, names)) <= 10
    figure, axes = _figure(HEIGHT if upright else 1.0 + 0.34 * len(names))
    draw = _upright_bars if upright else _lying_bars
    draw(axes, names, sizes, spread, aligned(sizes, as_percent=percent))
    axis = axes.yaxis if upright else axes.xaxis
    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(_formatter(percent=percent))
    labels = [] if baseline is None else _reference(axes, *baseline, across=upright)
    return _finish(figure, axes, y=y, title=title, labels=labels)


def error_curve(
    x: Sequence[float],
    mean: Sequence[float],
    std: Sequence[float],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    log_x: bool = False,
    percent: bool = False,
    baseline: tuple[str, float] | None = None,
) -> bytes:
    """A mean over repetitions with a band of one standard deviation to either side.

    Args:
        x: where it was measured, e.g. labelled pictures a class; each value gets its tick.
        mean: a share of one where `percent`.
        std: in the unit of `mean`.
        x_label: what the x axis shows, with its unit.
        y_label: what the y axis shows, with its unit.
        title: above the plot.
        log_x: logarithmic x axis.
        percent: write shares as percentages.
        baseline: name and value of a dashed reference line.

    Returns:
        PNG bytes, 936 x 540 pixels.
    """
    xs, middle, spread = (np.asarray(values, np.float64) for values in (x, mean, std))
    assert xs.size, "no points to draw"
    assert xs.shape == middle.shape == spread.shape, f"sizes {xs.size}, {middle.size}, {spread.size}"
    figure, axes = _figure(HEIGHT)
    axes.fill_between(xs, middle - spread, middle + spread, color=PALETTE[0], alpha=0.16, linewidth=0)
    axes.plot(xs, middle, color=PALETTE[0], linewidth=1.8, marker="o", markersize=5)
    axes.margins(y=0.12)
    _scale(axes, log_x=log_x, log_y=False)
    if percent:
        axes.yaxis.set_major_formatter(_formatter(percent=True))
    if xs.size <= 10:
        axes.set_xticks(list(xs), [short(value) for value in xs])
        for place, value, text in zip(xs, middle, aligned(middle, as_percent=percent), strict=True):
            if math.isfinite(value):
                _annotate(axes, text, (place, value), (0, 9), ha="center", va="bottom")
    labels = [] if baseline is None else _reference(axes, *baseline, across=True)
    return _finish(figure, axes, x=x_label, y=y_label, title=title, labels=labels)


def _figure(height: float) -> tuple[Figure, Axes]:
    """An empty figure `height` inches high, styled."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.1, 0.8, 0.8), facecolor="none")
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set(color=REFERENCE, linewidth=0.8)
    axes.tick_params(
        labelsize=10, labelcolor=SOFT, color=REFERENCE, width=0.8, length=3, labelfontfamily=FONT
    )
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.margins(x=0.015, y=0.07)
    return figure, axes


def _scale(axes: Axes, *, log_x: bool, log_y: bool) -> None:
    """Set both axes linear or logarithmic, with plain numbers at their ticks."""
    if log_x:
        axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")
    for axis, is_log, limits in ((axes.xaxis, log_x, axes.get_xlim()), (axes.yaxis, log_y, axes.get_ylim())):
        if is_log:
            decades = math.log10(limits[1] / limits[0])
            axis.set_major_locator(LogLocator(subs=(1.0,) if decades > 3 else (1.0, 2.0, 5.0)))
            axis.set_minor_locator(NullLocator())
        else:
            axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(_formatter(percent=False))


def _upright_bars(axes: Axes, names: list[str], sizes: Values, spread: Values, texts: list[str]) -> None:
    places = [float(index) for index in range(len(names))]
    axes.bar(places, sizes, width=0.6, color=PALETTE[0], linewidth=0)
    if np.isfinite(spread).any():
        axes.errorbar(places, sizes, yerr=spread, **_ERROR_BAR)
    for place, size, error, text in zip(places, sizes, spread, texts, strict=True):
        end, up = _bar_end(size, error)
        _annotate(axes, text, (place, end), (0, 4 * up), ha="center", va="bottom" if up > 0 else "top")
    axes.set_xticks(places, names, parse_math=False)
    axes.tick_params(axis="x", length=0, labelcolor=INK)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.margins(y=0.12)


def _lying_bars(axes: Axes, names: list[str], sizes: Values, spread: Values, texts: list[str]) -> None:
    places = [float(index) for index in range(len(names))]
    axes.barh(places, sizes, height=0.6, color=PALETTE[0], linewidth=0)
    if np.isfinite(spread).any():
        axes.errorbar(sizes, places, xerr=spread, **_ERROR_BAR)
    for place, size, error, text in zip(places, sizes, spread, texts, strict=True):
        end, up = _bar_end(size, error)
        _annotate(axes, text, (end, place), (5 * up, 0), ha="left" if up > 0 else "right", va="center")
    axes.set_yticks(places, names, parse_math=False)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.15)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=LINE, linewidth=0.8)
    axes.spines["bottom"].set_visible(False)


def _bar_end(size: float, error: float) -> tuple[float, int]:
    """Where a bar with its error bar ends, and whether that is up (1) or down (-1)."""
    if not math.isfinite(size):
        return 0.0, 1
    reach = error if math.isfinite(error) else 0.0
    return (size - reach, -1) if size < 0 else (size + reach, 1)


def _annotate(
    axes: Axes, text: str, at: tuple[float, float], offset: tuple[int, int], *, ha: str, va: str
) -> None:
    """Small text at a point of the data, moved by `offset` points, readable on top of lines."""
    halo = [withStroke(linewidth=4, foreground="white")]
    style: dict[str, Any] = {"size": 10, "color": INK, "ha": ha, "va": va, "path_effects": halo, **_PLAIN}
    axes.annotate(drawable(text), at, xytext=offset, textcoords="offset points", **style)


def _reference(axes: Axes, name: str, value: float, *, across: bool) -> list[_EndLabel]:
    """A dashed line at `value`; its name stands at its end: to the right (returned), or on top (drawn)."""
    style: dict[str, Any] = {"color": REFERENCE, "linewidth": 1.1, "linestyle": (0, (4, 3))}
    if across:
        axes.axhline(value, **style)
        return [_EndLabel(name, SOFT, value)]
    axes.axvline(value, **style)
    top = axes.get_ylim()[1]
    _annotate(axes, name, (value, top), (0, 3), ha="center", va="bottom")
    return []


def _finish(
    figure: Figure, axes: Axes, *, x: str = "", y: str, title: str, labels: Sequence[_EndLabel] = ()
) -> bytes:
    """Add the words, give the axes the space that the words leave, and draw."""
    width, height = figure.get_size_inches()
    top = 0.08
    for line in textwrap.wrap(drawable(title), 72):
        figure.text(0, 1 - top / height, line, size=12, weight="bold", color=INK, va="top", **_PLAIN)
        top += 0.25
    figure.text(0, 1 - (top + 0.02) / height, drawable(y), size=10, color=SOFT, va="top", **_PLAIN)
    top += 0.42
    bottom = 0.3 + (0.2 if x else 0.0)
    figure.text(1, 0.04 / height, drawable(x), size=10, color=SOFT, va="bottom", ha="right", **_PLAIN)
    ends = []
    for label in labels:
        name, colour = _shorten(drawable(label.text), 24), _darker(label.colour)
        ends.append(figure.text(0, 0, name, size=10, color=colour, va="center", **_PLAIN))
    # Two passes: which ticks there are, and so how wide their labels are, depends on the height.
    axes.set_position((0.1, bottom / height, 0.8, 1 - (top + bottom) / height))
    figure.draw_without_rendering()
    pixels = width * DPI
    ticks = [text.get_window_extent().width for text in axes.get_yticklabels() if text.get_text()]
    left = max(ticks, default=0.0) / pixels + 0.012
    right = max((text.get_window_extent().width for text in ends), default=0.0) / pixels + 0.024
    axes.set_position((left, bottom / height, 1 - left - right, 1 - (top + bottom) / height))
    heights = [float(axes.transData.transform((axes.get_xlim()[1], label.value))[1]) for label in labels]
    for text, place in zip(ends, _spread_out(heights, gap=0.18 * DPI), strict=True):
        text.set_position((1 - right + 0.012, place / (height * DPI)))
    buffer = io.BytesIO()
    figure.canvas.print_png(buffer, metadata={"Software": PLOT_MARK.decode()})  # type: ignore[attr-defined]
    return buffer.getvalue()


def _spread_out(places: Sequence[float], gap: float) -> list[float]:
    """The places, moved as little as keeps neighbours `gap` apart and every group centred on its own."""
    groups: list[tuple[list[int], float]] = []  # members from the lowest up, and the centre of the group
    for index in sorted(range(len(places)), key=lambda index: places[index]):
        members, centre = [index], places[index]
        while groups and centre - groups[-1][1] < gap * (len(members) + len(groups[-1][0])) / 2:
            members = groups.pop()[0] + members
            centre = sum(places[member] for member in members) / len(members)
        groups.append((members, centre))
    moved = list(places)
    for members, centre in groups:
        for order, member in enumerate(members):
            moved[member] = centre + gap * (order - (len(members) - 1) / 2)
    return moved


def _smoothed(values: Values, weight: float) -> Values:
    """At each point the straight line fitted with weights `weight ** distance`; gaps stay gaps.

    A line and not a mean, because a mean is wrong at both ends of a curve that falls.
    """
    known = np.isfinite(values)
    places, levels = np.arange(values.size, dtype=np.float64), np.where(known, values, 0.0)
    moments = np.stack([known, known * places, known * places**2, levels, levels * places], axis=1)
    forward, backward = np.empty_like(moments), np.empty_like(moments)
    before, after = np.zeros(5), np.zeros(5)
    for index in range(values.size):
        before = forward[index] = weight * before + moments[index]
        after = backward[-1 - index] = weight * after + moments[-1 - index]
    sums = forward + backward - moments
    centre, square, mean, mixed = (sums[:, 1:] / np.maximum(sums[:, :1], 1e-300)).T
    variance = square - centre**2
    slope = np.where(variance > 1e-3, (mixed - centre * mean) / np.maximum(variance, 1e-3), 0.0)
    return np.where(known, mean + slope * (places - centre), np.nan)


def _formatter(*, percent: bool) -> FuncFormatter:
    """Ticks as short numbers, or shares as percentages."""
    return FuncFormatter(lambda value, _: short(100 * value) + " %" if percent else short(value))


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _darker(colour: str) -> str:
    """The colour for text: the palette's light colours are too faint for letters on white."""
    red, green, blue = to_rgb(colour)
    return to_hex((0.72 * red, 0.72 * green, 0.72 * blue))
