"""Charts as inline SVG: curves over epochs, and the reliability diagram. Colours come from the page's CSS."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from tsgc.evaluation.statistics import wilson
from tsgc.report.analysis import Calibration

WIDTH, HEIGHT = 440, 250  # of the drawing; about the pixels it gets, so that text keeps its size
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 40  # free around the axes
COLOURS = 8  # runs that the page's CSS has colours for; further ones start again


@dataclass(frozen=True)
class Series:
    """One curve."""

    name: str
    colour: int
    """Index of its run."""
    dashed: bool
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    """The band around it, of several seeds; None: no band."""


@dataclass(frozen=True)
class Chart:
    """Curves of one figure."""

    title: str
    unit: str
    series: list[Series]


def line_chart(chart: Chart) -> Markup:
    """Curves over epochs; a curve is broken where its value is not finite."""
    values = np.array(
        [v for series in chart.series for part in (series.y, series.low, series.high) for v in part or ()],
        float,
    )
    epochs = np.array([epoch for series in chart.series for epoch in series.x], float)
    x_ticks = ticks(float(epochs.min()), float(epochs.max()), 6, whole=True)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    y_ticks = ticks(min(low, 0.0) if low < 0.35 * high else low, high, 5)
    parts = [_frame(x_ticks, y_ticks)]
    parts += [_band(series, x_ticks, y_ticks) for series in chart.series]
    parts += [_curve(series, x_ticks, y_ticks) for series in chart.series]
    parts.append(Markup('<line class="cursor" y1="{}" y2="{}" hidden></line>').format(TOP, HEIGHT - BOTTOM))
    label = f"{chart.title} by epoch. " + "; ".join(
        f"{series.name}: {short_figure(series.y[0])} at first, {short_figure(series.y[-1])} at last"
        for series in chart.series
    )
    return Markup('<svg class="curves" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, label, Markup("").join(parts)
    )


def chart_data(chart: Chart) -> dict[str, object]:
    """Data with which the page's script shows the values under the pointer."""
    epochs = [epoch for series in chart.series for epoch in series.x]
    x_ticks = ticks(min(epochs), max(epochs), 6, whole=True)
    return {
        "unit": chart.unit,
        "x": [x_ticks[0], x_ticks[-1], LEFT, WIDTH - RIGHT],
        "series": [
            {"name": series.name, "x": list(series.x), "y": _readings(series)} for series in chart.series
        ],
    }


def _readings(series: Series) -> list[str]:
    """The figures of a curve as text, with the ends of its band."""
    said = [short_figure(value) for value in series.y]
    if series.low is None or series.high is None:
        return said
    ends = zip(map(short_figure, series.low), map(short_figure, series.high))
    return [f"{middle} ({low}–{high})" for middle, (low, high) in zip(said, ends)]


def ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """Round numbers that cover low..high, evenly apart, about `most` of them; `whole`: integers."""
    size = max(abs(low), abs(high))
    nothing = size < 1e-300  # 0, or so small that its parts have no logarithm
    if high - low <= 1e-9 * size or nothing:  # a single value, as far as figures are exact
        room = 1.0 if whole or nothing else size / 10
        low, high = low - room, high + room
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    if whole:
        step = max(1.0, math.ceil(step))
    first = math.floor(low / step + 1e-9)
    last = max(first + 1, math.ceil(high / step - 1e-9))
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def short_figure(value: float) -> str:
    """A figure in few characters: 3.193, 268, 0.00012, 1.2e-07."""
    if not math.isfinite(value):
        return "not finite"
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
        text = f"{value:,.{min(digits, 7)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.3g}"


def _at(value: float, marks: Sequence[float], start: float, end: float) -> float:
    return round(start + (value - marks[0]) / (marks[-1] - marks[0]) * (end - start), 1)


def _frame(x_ticks: Sequence[float], y_ticks: Sequence[float]) -> Markup:
    parts = []
    for value in y_ticks:
        y = _at(value, y_ticks, HEIGHT - BOTTOM, TOP)
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
                '<text class="end" x="{}" y="{}">{}</text>'
            ).format(LEFT, WIDTH - RIGHT, y, y, LEFT - 7, y + 4, short_figure(value))
        )
    for value in x_ticks:
        x = _at(value, x_ticks, LEFT, WIDTH - RIGHT)
        parts.append(
            Markup('<text class="middle" x="{}" y="{}">{}</text>').format(
                x, HEIGHT - BOTTOM + 17, short_figure(value)
            )
        )
    parts.append(
        Markup('<text class="middle axis" x="{}" y="{}">epoch</text>').format(
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6
        )
    )
    return Markup("").join(parts)


def _band(series: Series, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> Markup:
    """The area between a curve's lowest and highest values; nothing where one is not finite."""
    ends = np.array([series.low or [], series.high or []], float)
    if not ends.size or not np.isfinite(ends).all():
        return Markup("")
    xs = [_at(epoch, x_ticks, LEFT, WIDTH - RIGHT) for epoch in series.x]
    low, high = ([_at(value, y_ticks, HEIGHT - BOTTOM, TOP) for value in end.tolist()] for end in ends)
    around = [*zip(xs, high), *reversed([*zip(xs, low)])]
    return Markup('<path class="band c{}" d="M{} Z"/>').format(
        series.colour % COLOURS, " L".join(f"{x:g},{y:g}" for x, y in around)
    )


def _curve(series: Series, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> Markup:
    pieces: list[list[str]] = [[]]
    last = ""
    for epoch, value in zip(series.x, series.y):
        if not math.isfinite(value):
            pieces.append([])
            continue
        last = f"{_at(epoch, x_ticks, LEFT, WIDTH - RIGHT):g},{_at(value, y_ticks, HEIGHT - BOTTOM, TOP):g}"
        pieces[-1].append(last)
    path = " ".join("M" + " L".join(piece) for piece in pieces if piece)
    if not path:
        return Markup("")
    x, y = last.split(",")
    return Markup('<path class="line c{}{}" d="{}"/><circle class="dot c{}" cx="{}" cy="{}" r="3"/>').format(
        series.colour % COLOURS, " dashed" if series.dashed else "", path, series.colour % COLOURS, x, y
    )


SIDE = 300  # of the reliability diagram's drawing
PAD = 44  # left of and below its axes
HIST = 52  # height of the counts below
FEW = 10  # clips; a bin of fewer is drawn hollow


def _bin(
    calibration: Calibration, index: int, sides: tuple[float, float], plot: float, tall: float
) -> Markup:
    """One bin: its bar up to the lower of accuracy and confidence, the gap above, a whisker, its clips."""
    count = int(calibration.counts[index])
    accuracy, confidence = float(calibration.accuracy[index]), float(calibration.confidence[index])
    low, high = wilson(count * accuracy, count)
    said = (
        f"{count:,} clip{'s' if count > 1 else ''} of confidence {100 * confidence:.1f} %:"
        f" {100 * accuracy:.1f} % right (95 %: {low:.0f}–{high:.0f} %)"
    )
    left, right = sides
    place = {
        "said": said,
        "few": " few" if count < FEW else "",
        "x": left + 1,
        "w": right - left - 2,
        "end": right - 1,
        "middle": (left + right) / 2,
        "level": 10 + plot * (1 - accuracy),
        "solid": 10 + plot * (1 - min(accuracy, confidence)),
        "solid_h": plot * min(accuracy, confidence),
        "gap": 10 + plot * (1 - max(accuracy, confidence)),
        "gap_h": plot * abs(accuracy - confidence),
        "high": 10 + plot * (1 - high / 100),
        "low": 10 + plot * (1 - low / 100),
        "count": 10 + plot + 6 + HIST - max(0.5, tall),
        "count_h": max(0.5, tall),
    }
    return Markup(
        '<g class="bin{few}"><title>{said}</title>'
        '<rect class="bar" x="{x:.1f}" y="{solid:.1f}" width="{w:.1f}" height="{solid_h:.1f}"/>'
        '<rect class="gap" x="{x:.1f}" y="{gap:.1f}" width="{w:.1f}" height="{gap_h:.1f}"/>'
        '<line class="whisker" x1="{middle:.1f}" x2="{middle:.1f}" y1="{high:.1f}" y2="{low:.1f}"/>'
        '<line class="level" x1="{x:.1f}" x2="{end:.1f}" y1="{level:.1f}" y2="{level:.1f}"/>'
        '<rect class="count" x="{x:.1f}" y="{count:.1f}" width="{w:.1f}" height="{count_h:.1f}"/></g>'
    ).format(**place)


def reliability(calibration: Calibration) -> Markup:
    """A diagram of accuracy over confidence by bins, with the diagonal; below, the clips of each bin."""
    bins = len(calibration.counts)
    plot = SIDE - PAD - 10
    width = plot / bins
    parts = []
    for mark in (0, 25, 50, 75, 100):
        x, y = PAD + plot * mark / 100, 10 + plot * (1 - mark / 100)
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
                '<text class="end" x="{}" y="{:.1f}">{}</text>'
                '<text class="middle" x="{:.1f}" y="{}">{}</text>'
            ).format(PAD, PAD + plot, y, y, PAD - 6, y + 4, mark, x, 10 + plot + HIST + 22, mark)
        )
    most = max(1, int(calibration.counts.max()))
    for index, count in enumerate(calibration.counts.tolist()):
        if count:
            left = PAD + index * width
            parts.append(_bin(calibration, index, (left, left + width), plot, HIST * count / most))
    parts.append(
        Markup('<line class="diagonal" x1="{}" y1="{}" x2="{}" y2="10"/>').format(PAD, 10 + plot, PAD + plot)
    )
    bottom = 10 + plot + HIST + 40
    parts.append(
        Markup(
            '<text class="middle axis" x="{0}" y="{1}">confidence, %</text>'
            '<text class="middle axis" transform="translate(13 {2}) rotate(-90)">right, %</text>'
            '<text class="middle axis" transform="translate(13 {3}) rotate(-90)">clips</text>'
        ).format(PAD + plot / 2, bottom, 10 + plot / 2, 10 + plot + 6 + HIST / 2)
    )
    label = f"Reliability diagram; expected calibration error {calibration.ece:.1f} %"
    return Markup('<svg class="reliability" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        SIDE, bottom + 8, escape(label), Markup("").join(parts)
    )
