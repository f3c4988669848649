"""Saliency drawn: on the skeleton, on a resting body, and along time. Colours come from the page's CSS."""

import numpy as np
from markupsafe import Markup
from PIL import Image, ImageDraw, ImageFont

from pipelines.skeleton import Skeleton
from tsgc.drawing.rest_pose import resting_body
from tsgc.drawing.skeleton import AGAINST, CAPTION, FAINT, FONT_SIZE, FOR, INK, PAPER, radius
from tsgc.explain.summary import BINS, along_time

WIDTH, HEIGHT = 220, 270  # of a resting body's drawing
ROW, LABEL, CELL = 20, 130, 13  # of a map along time: a joint's row, its name, a part of the clip
JOINTS = 10  # rows of a map along time
BARS = 54  # pixels, the height of bars along time


def joint_weights(values: np.ndarray) -> np.ndarray:
    """Values (T, M, V) as weights to draw, -1 to 1: a mean over a `BINS`th of the clip about each frame.

    The network may look at fewer frames than the clip has; those between have no value of their own.
    """
    T = len(values)
    reach = T // (2 * BINS)
    sums = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, 0, dtype=np.float64)])
    low = np.maximum(np.arange(T) - reach, 0)
    high = np.minimum(np.arange(T) + reach + 1, T)
    smooth = (sums[high] - sums[low]) / (high - low)[:, None, None]
    return _scaled(smooth)


def _scaled(values: np.ndarray) -> np.ndarray:
    """Values with the largest at 1 or -1; all 0 stay."""
    largest = np.abs(values).max(initial=0)
    return values / largest if largest > 0 else values


def body_drawing(skeleton: Skeleton, joints: np.ndarray, label: str, largest: float | None = None) -> Markup:
    """A resting body with a disc (a ring, where below 0) at each joint, by its value (V,).

    `largest`: the value that is drawn as large as can be, by default the largest of these.
    """
    most = np.abs(joints).max(initial=0) if largest is None else largest
    points, parts = resting_body(skeleton, WIDTH, HEIGHT)
    for (x, y), value, name in zip(points, joints.tolist(), skeleton.joints):
        size = 1.6 * radius(value / most) if most > 0 else 0.0
        parts.append(
            Markup(
                '<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"><title>{}: {:+.3f}</title></circle>'
            ).format("for" if value > 0 else "against", x, y, max(size, 1.5), name, value)
        )
    return _svg(WIDTH, HEIGHT, "body", label, parts)


def time_bars(times: np.ndarray, label: str, largest: float | None = None) -> Markup:
    """A bar for each part of a clip (BINS,), upwards where it speaks for the class."""
    most = np.abs(times).max(initial=0) if largest is None else largest
    wide, middle = WIDTH / len(times), BARS / 2
    parts = [Markup('<line class="grid" x1="0" x2="{}" y1="{}" y2="{}"/>').format(WIDTH, middle, middle)]
    for index, value in enumerate(times.tolist()):
        tall = middle * min(abs(value) / most, 1) if most > 0 else 0.0
        if tall >= 0.25:
            parts.append(
                Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                    "for" if value > 0 else "against",
                    index * wide + 0.5,
                    middle - tall if value > 0 else middle,
                    wide - 1,
                    tall,
                )
            )
    return _svg(WIDTH, BARS, "times", label, parts)


def time_map(skeleton: Skeleton, times: np.ndarray, seconds: float, label: str) -> Markup:
    """Joints over time, (BINS, M, V): a row for each of the `JOINTS` that matter most."""
    T, M, V = times.shape
    rows = times.reshape(T, M * V).T
    order = np.argsort(-np.abs(rows).sum(1), kind="stable")[:JOINTS]
    depth = _scaled(rows[np.sort(order)])
    parts = []
    for row, index in enumerate(np.sort(order).tolist()):
        body, joint = divmod(index, V)
        name = skeleton.joints[joint] + (f", body {body + 1}" if M > 1 else "")
        y = row * ROW
        parts.append(Markup('<text class="end" x="{}" y="{}">{}</text>').format(LABEL - 7, y + 14, name))
        for part, (value, shade) in enumerate(zip(rows[index].tolist(), depth[row].tolist())):
            if abs(shade) >= 0.02:
                parts.append(
                    Markup(
                        '<rect class="{}" x="{}" y="{}" width="{}" height="{}" fill-opacity="{:.2f}">'
                        "<title>{}, {:.1f} s: {:+.3f}</title></rect>"
                    ).format(
                        "for" if value > 0 else "against",
                        LABEL + part * CELL,
                        y + 1,
                        CELL,
                        ROW - 2,
                        abs(shade),
                        name,
                        (part + 0.5) * seconds / T,
                        value,
                    )
                )
    bottom = len(order) * ROW
    for place, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        parts.append(
            Markup('<text class="{}" x="{}" y="{}">{:.1f} s</text>').format(
                anchor, LABEL + place * T * CELL, bottom + 17, place * seconds
            )
        )
    return _svg(LABEL + T * CELL, bottom + 22, "times", label, parts)


def _svg(width: float, height: float, kind: str, label: str, parts: list[Markup]) -> Markup:
    return Markup('<svg class="saliency {}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        kind, width, height, label, Markup("").join(parts)
    )


def draw_time(values: np.ndarray, title: str, width: int) -> Image.Image:
    """Bars along time below a strip of stills, of values (T, M, V)."""
    times = _scaled(along_time(values).sum((1, 2)))
    picture = Image.new("RGB", (width, CAPTION + BARS + 4), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((6, 4), title, fill=INK, font=ImageFont.load_default(FONT_SIZE))
    middle, wide = CAPTION + BARS / 2, width / len(times)
    draw.line((0, middle, width, middle), fill=FAINT)
    for index, value in enumerate(times.tolist()):
        tall = value * BARS / 2
        box = (
            index * wide + 1,
            min(middle, middle - tall),
            (index + 1) * wide - 1,
            max(middle, middle - tall),
        )
        if abs(tall) >= 1:
            draw.rectangle(box, fill=FOR if value > 0 else AGAINST)
    return picture
