"""Pictures of skeletons: the front view of joints, and its drawing as strips and frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipelines.channels import has_score, in_space
from pipelines.skeleton import Skeleton

LEFT, RIGHT, MIDDLE = "left", "right", "middle"
# Colour-blind people can tell blue from orange (Okabe and Ito, 2008); both are darkened for white paper.
COLOURS = {LEFT: (0, 96, 168), RIGHT: (200, 84, 0), MIDDLE: (70, 70, 78)}
# Purple and green are told apart as well, and from both of these; green joints are rings, too.
FOR, AGAINST = (138, 58, 143), (0, 117, 94)
INK, FAINT, PAPER = (28, 28, 32), (208, 208, 214), (255, 255, 255)
MARGIN = 0.08  # of the shorter side, kept free around the bodies
OVERSAMPLE = 3  # drawn larger, then shrunk: Pillow's lines have no smooth edges
PANEL = (176, 208)  # pixels, width and height of one body drawing
CAPTION = 22  # pixels above it
FONT_SIZE = 13  # pixels
GIF_STEP = 20  # milliseconds; browsers slow a GIF down that asks for less


@dataclass(frozen=True)
class Panel:
    """One clip to draw."""

    title: str
    joints: np.ndarray
    """(T, M, V, C); the first two channels are drawn."""
    present: np.ndarray | None = None
    """Where each body was seen, (T, M) bool; None: wherever a joint is not 0."""
    channels: str = "xyz"
    """`xyz`, `xyzs` or `xys`, s the detector's score."""
    weights: np.ndarray | None = None
    """How much each joint stands out, (T, M, V), -1 to 1: above 0 as a disc, below as a ring."""

    def frame_weights(self, index: int) -> np.ndarray | None:
        """The weights of one frame, (M, V)."""
        return None if self.weights is None else self.weights[index]


def places(
    joints: np.ndarray, skeleton: Skeleton, present: np.ndarray | None = None, *, channels: str = "xyz"
) -> np.ndarray:
    """Joints as a camera has them, (T, M, V, C) -> (T, M, V, 3), in pictures (T, M, V, 2).

    x to the right, y downwards, z away from the camera, in the joints' unit. NaN for bodies that are absent
    (not `present`, all joints 0, or one infinite), and for joints whose x or y is NaN or whose score is 0.
    """
    space = in_space(channels)
    found = np.array(joints[..., : 3 if space else 2], np.float64)
    flat = found[..., :2]
    found[np.isnan(flat).any(3)] = np.nan
    absent = np.isinf(flat).any((2, 3)) | np.isnan(flat).all((2, 3)) | ~np.asarray(joints).any((2, 3))
    if present is not None:
        absent |= ~present
    found[absent] = np.nan
    if has_score(channels):
        found[joints[..., -1] == 0] = np.nan
    if np.isnan(flat).all():
        return found
    if space or head_is_up(flat, skeleton):
        found[..., 1] *= -1
    if space:  # depth alone may be missing: then it is 0
        found[..., 2] = np.where(np.isfinite(found[..., 2]) | np.isnan(flat[..., 0]), found[..., 2], 0)
    return found


def front_view(
    joints: np.ndarray,
    skeleton: Skeleton,
    present: np.ndarray | None = None,
    *,
    size: tuple[float, float],
    channels: str = "xyz",
) -> np.ndarray:
    """Joints seen from the camera: (T, M, V, C) -> pixels (T, M, V, 2), x to the right, y downwards.

    One scale for both axes and all frames keeps the aspect ratio, and nothing jumps. The bounding box of all
    bodies of the clip is centred in `size` (width, height). Depth is dropped. Points are NaN where `places`
    has them so.
    """
    flat = places(joints, skeleton, present, channels=channels)[..., :2]
    if np.isnan(flat).all():
        return flat
    low, high = np.nanmin(flat, (0, 1, 2)), np.nanmax(flat, (0, 1, 2))
    room = np.asarray(size) - 2 * MARGIN * min(size)
    extent = high - low
    fits = room[extent > 0] / extent[extent > 0]
    scale = float(fits.min(initial=np.inf)) if len(fits) else 0.0  # joints all in one place: in the middle
    return (flat - (low + high) / 2) * scale + np.asarray(size) / 2


def head_is_up(flat: np.ndarray, skeleton: Skeleton) -> bool:
    """Whether shoulders have larger y than hips on average, (T, M, V, 2): data sets of pictures differ."""
    means = []
    for part in ("shoulder", "hip"):
        here = [index for index, name in enumerate(skeleton.joints) if name.endswith(f" {part}")]
        means.append(np.nan_to_num(flat[..., here, 1]).sum() / max(1, np.isfinite(flat[..., here, 1]).sum()))
    return bool(means[0] > means[1])


def joint_sides(skeleton: Skeleton) -> tuple[str, ...]:
    """The side of each joint as seen from the body itself: `left`, `right` or `middle`."""
    sides = [MIDDLE] * skeleton.num_joints
    for left, right in skeleton.left_right:
        if "right" in skeleton.joints[left]:
            left, right = right, left
        sides[left], sides[right] = LEFT, RIGHT
    return tuple(sides)


def bones(skeleton: Skeleton) -> list[tuple[int, int, str]]:
    """(child, parent, side) of every bone; its side is that of the child."""
    sides = joint_sides(skeleton)
    return [(child, parent, sides[child]) for child, parent in skeleton.edges]


def even_indices(count: int, wanted: int) -> list[int]:
    """At most `wanted` of the indices 0..count-1, evenly apart, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(int)).tolist()


def panel_points(panel: Panel, skeleton: Skeleton, size: tuple[float, float]) -> np.ndarray:
    """A panel's clip in pixels, as `front_view` gives it."""
    return front_view(panel.joints, skeleton, panel.present, size=size, channels=panel.channels)


def panel_places(panel: Panel, skeleton: Skeleton) -> np.ndarray:
    """A panel's clip as `places` gives it."""
    return places(panel.joints, skeleton, panel.present, channels=panel.channels)


def draw_strip(
    panels: Sequence[Panel],
    skeleton: Skeleton,
    *,
    frames: int = 8,
    fps: float | None = None,
    heading: str = "",
) -> Image.Image:
    """A row of still frames for each panel, evenly spread over its clip; `fps`: to say their seconds."""
    rows = []
    for panel in panels:
        points = panel_points(panel, skeleton, PANEL)
        cells = [
            _cell(
                f"frame {moment(index, len(points), fps)}",
                points[index],
                skeleton,
                panel.frame_weights(index),
            )
            for index in even_indices(len(points), frames)
        ]
        rows.append(_titled(panel.title, _beside(cells or [_empty_cell(points, skeleton)])))
    return _headed(heading, below([*rows, _legend()]))


def draw_frames(
    panels: Sequence[Panel],
    skeleton: Skeleton,
    *,
    most: int = 300,
    fps: float | None = None,
    heading: str = "",
) -> list[Image.Image]:
    """The panels side by side, at most `most` frames; a shorter clip rests on its last one."""
    views = [panel_points(panel, skeleton, PANEL) for panel in panels]
    pictures = []
    for index in even_indices(max(1, *map(len, views)), most):
        cells = []
        for panel, points in zip(panels, views):
            if not len(points):
                cells.append(_empty_cell(points, skeleton))
                continue
            here = min(index, len(points) - 1)
            title = f"{panel.title}, " if panel.title and (len(panels) > 1 or not heading) else ""
            caption = title + moment(here, len(points), fps)
            cells.append(_cell(caption, points[here], skeleton, panel.frame_weights(here)))
        pictures.append(_headed(heading, below([_beside(cells), _legend()])))
    return pictures


def moment(index: int, count: int, fps: float | None) -> str:
    """A frame's number, and its second where the rate is known: `12/40, 0.37 s`."""
    return f"{index + 1}/{count}" + (f", {index / fps:.2f} s" if fps else "")


def gif_milliseconds(frames: int, drawn: int, fps: float) -> int:
    """How long to show each of `drawn` pictures, so that `frames` at `fps` play at their own speed."""
    return max(GIF_STEP, round(1000 * frames / (fps * max(drawn, 1)) / 10) * 10)  # GIFs count in 10 ms


def radius(weight: float) -> float:
    """The radius of a joint's mark by its weight, -1 to 1, in pixels: its area grows with the weight."""
    return 9 * abs(weight) ** 0.5


def _cell(
    caption: str, points: np.ndarray, skeleton: Skeleton, weights: np.ndarray | None = None
) -> Image.Image:
    """One frame, points (M, V, 2), under its caption; `weights` (M, V) mark its joints."""
    width, height = PANEL
    large = Image.new("RGB", (width * OVERSAMPLE, height * OVERSAMPLE), PAPER)
    draw = ImageDraw.Draw(large)
    for number, body in reversed(list(enumerate(points * OVERSAMPLE))):  # the first body on top
        colours = {side: colour if number == 0 else _lighter(colour) for side, colour in COLOURS.items()}
        for child, parent, side in bones(skeleton):
            line = [tuple(body[child]), tuple(body[parent])]
            if not np.isnan(line).any():
                draw.line(line, fill=colours[side], width=3 * OVERSAMPLE)
        for (x, y), side in zip(body, joint_sides(skeleton)):
            r = 2.4 * OVERSAMPLE
            if not np.isnan(x):
                draw.ellipse((x - r, y - r, x + r, y + r), fill=colours[side])
        for (x, y), weight in zip(body, () if weights is None else weights[number]):
            r = radius(weight) * OVERSAMPLE
            if r < OVERSAMPLE or np.isnan(x):
                continue
            if weight > 0:
                draw.ellipse((x - r, y - r, x + r, y + r), fill=FOR)
            else:
                draw.ellipse((x - r, y - r, x + r, y + r), outline=AGAINST, width=2 * OVERSAMPLE)
    cell = Image.new("RGB", (width, height + CAPTION), PAPER)
    cell.paste(large.resize(PANEL, Image.Resampling.BOX), (0, CAPTION))
    draw = ImageDraw.Draw(cell)
    _text(draw, (6, 4), caption, width - 8)
    if np.isnan(points).all():
        _text(draw, (6, CAPTION + height // 2), "no body", width - 8)
    draw.rectangle((0, 0, width - 1, height + CAPTION - 1), outline=FAINT)
    return cell


def _empty_cell(points: np.ndarray, skeleton: Skeleton) -> Image.Image:
    """The cell of a clip without frames, points (0, M, V, 2)."""
    return _cell("no frames", points.reshape(0, skeleton.num_joints, 2), skeleton)


def _lighter(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """The lighter colour of all bodies but the first."""
    red, green, blue = (255 - round((255 - part) * 0.55) for part in colour)
    return red, green, blue


def _text(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int) -> None:
    """Draw text, shortened with dots where it is wider than `width`."""
    font = ImageFont.load_default(FONT_SIZE)
    while len(text) > 1 and draw.textlength(text, font) > width:
        text = text[:-2].rstrip() + "…"
    draw.text(place, text, fill=INK, font=font)


def _titled(title: str, picture: Image.Image) -> Image.Image:
    if not title:
        return picture
    head = Image.new("RGB", (picture.width, CAPTION + 4), PAPER)
    _text(ImageDraw.Draw(head), (4, 6), title, picture.width - 8)
    return below([head, picture])


def _headed(heading: str, picture: Image.Image) -> Image.Image:
    """A picture below its heading, which goes on in another line where it is wider."""
    if not heading:
        return picture
    font = ImageFont.load_default(FONT_SIZE)
    lines = [""]
    for word in heading.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= picture.width - 8 or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    head = Image.new("RGB", (picture.width, 4 + (CAPTION - 4) * len(lines)), PAPER)
    draw = ImageDraw.Draw(head)
    for number, line in enumerate(lines):
        _text(draw, (4, 4 + (CAPTION - 4) * number), line, picture.width - 8)
    return below([head, picture])


def _legend() -> Image.Image:
    """A legend of the colours."""
    picture = Image.new("RGB", (PANEL[0], CAPTION), PAPER)
    draw = ImageDraw.Draw(picture)
    x = 6
    for side in (LEFT, RIGHT):
        draw.rectangle((x, 6, x + 10, 16), fill=COLOURS[side])
        draw.text((x + 15, 4), f"its {side}", fill=INK, font=ImageFont.load_default(FONT_SIZE))
        x += 82
    return picture


def _beside(pictures: Sequence[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (sum(p.width for p in pictures), max(p.height for p in pictures)), PAPER)
    x = 0
    for picture in pictures:
        whole.paste(picture, (x, 0))
        x += picture.width
    return whole


def below(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other."""
    whole = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), PAPER)
    y = 0
    for picture in pictures:
        whole.paste(picture, (0, y))
        y += picture.height
    return whole
