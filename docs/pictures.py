"""Draws the pictures of the README from made clips, as the data sets' terms forbid showing real ones.

    python docs/pictures.py                # docs/pictures/*: some minutes on a CPU; needs a Chromium on PATH
    python docs/pictures.py --keep made    # and keep what was made: raw clips, shards, runs, report

Clips are written by `pipelines.synthetic`, two streams are trained on them by `tsgc train`, and what `tsgc
predict` says of four test clips, whose performers were not trained on, is drawn below each. The report is
a screenshot of `tsgc report` on the two runs, once for light pages and once for dark ones.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipelines.skeleton import Skeleton  # noqa: E402
from pipelines.synthetic.raw_files import write_ntu  # noqa: E402
from shards.load_manifest import load_manifest  # noqa: E402
from tsgc.demo import SETTINGS, STREAMS  # noqa: E402
from tsgc.drawing.skeleton import bones, front_view, joint_sides  # noqa: E402
from tsgc.workspace.clips_by_name import clips_by_name  # noqa: E402

BENCHMARK = "ntu60/xsub"
EPOCHS, REPEATS = 16, 3  # of each stream, and visits to each clip in one
CLIPS = ("S001C001P003R001A024", "S002C001P006R001A010", "S001C001P007R001A023", "S002C001P010R001A058")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

# The animation: one look that stands on light and on dark pages, in the colours of the report's dark side.
PAPER, RAISED, INK, QUIET = "#15171b", "#262b33", "#eceef1", "#a9aeb8"
COLOURS = {"left": "#6bb8ff", "right": "#ff9d5c", "middle": "#b9bcc4"}
PANEL, BODY = (208, 360), (208, 224)  # pixels, width and height: of a clip with its prediction, of its bodies
HEAD, BAR, GAP = 30, 5, 33  # pixels: the clip's name above, a bar's height, from one class to the next
FRAMES, STEP = 42, 50  # of the animation, and the milliseconds that each stands
OVERSAMPLE = 3  # drawn larger, then shrunk: Pillow's lines have no smooth edges
FURTHER = 0.45  # how much of its colour a second body keeps
SHOWN = (1200, 960)  # pixels of the report's beginning


def tsgc(folder: Path, *words: str) -> str:
    """Run a command of the project in `folder`; what it printed. Raises CalledProcessError where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tsgc", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def make(folder: Path, epochs: int) -> list[dict[str, Any]]:
    """Raw clips, shards, two trained streams and a report below `folder`; what they say of CLIPS."""
    write_ntu(folder / "data/nturgbd_raw")
    tsgc(folder, "prepare", "ntu60")
    tsgc(folder, "shard", "ntu60")
    for modality in STREAMS:
        chosen = {**SETTINGS, "modality": modality, "epochs": epochs, "repeats": REPEATS, "eval_every": 1}
        config = folder / f"{modality}.json"  # JSON is YAML
        config.write_text(json.dumps(chosen))
        tsgc(folder, "train", BENCHMARK, "--config", config.name)
    runs = [f"runs/{BENCHMARK}/tiny/{modality}/seed0" for modality in STREAMS]
    tsgc(folder, "report", *runs, "--out", "report.html")
    files = [next((folder / "data/nturgbd_raw").rglob(f"{clip}.skeleton")) for clip in CLIPS]
    said = json.loads(tsgc(folder, "predict", *map(str, files), "--top", "3", "--json"))
    return said["predictions"]


# The animation ---------------------------------------------------------------------------------------------


def find_loop(joints: np.ndarray, frames: int) -> np.ndarray:
    """A part of a clip (T, M, V, C) whose end leads into its start, once or more: (frames, M, V, C).

    The two moments are taken that look most alike, in place and in the frames before, among those that
    are a whole part of `frames` apart, give or take a seventh; then the end is blended into what came
    before the start. A clip that is too short for any is taken whole.
    """
    lead = max(2, frames // 8)
    spans = [span for span in range(frames // 4, frames + frames // 7) if off(span, frames) <= 1 / 7]
    found = [
        (np.abs(joints[a - lead : a] - joints[a + span - lead : a + span]).mean(), a, span)
        for span in spans
        for a in range(lead, len(joints) - span + 1)
    ]
    if not found:
        return resample(joints, frames)
    _, start, span = min(found)
    loop = joints[start : start + span].copy()
    share = (np.arange(1, lead + 1) / (lead + 1))[:, None, None, None]
    loop[-lead:] = (1 - share) * loop[-lead:] + share * joints[start - lead : start]
    return resample(np.tile(loop, (round(frames / span), 1, 1, 1)), frames)


def off(span: int, frames: int) -> float:
    """By which part of `frames` a whole number of spans misses it."""
    return abs(span * round(frames / span) / frames - 1)


def resample(joints: np.ndarray, frames: int) -> np.ndarray:
    """(T, ...) -> (frames, ...): the same time, evenly cut, the last frame as far from the first as any."""
    at = np.arange(frames) * len(joints) / frames
    low = at.astype(int)
    share = (at - low).reshape(-1, *[1] * (joints.ndim - 1))
    return (1 - share) * joints[low] + share * joints[(low + 1) % len(joints)]


def panel(points: np.ndarray, skeleton: Skeleton, said: dict[str, Any]) -> Image.Image:
    """One frame, points (M, V, 2), with the clip's name above it and the three likeliest classes below."""
    large = Image.new("RGB", (PANEL[0] * OVERSAMPLE, PANEL[1] * OVERSAMPLE), PAPER)
    draw = ImageDraw.Draw(large)
    for number, body in reversed(list(enumerate(points))):  # the first body on top
        body = (body + np.array((0, HEAD))) * OVERSAMPLE
        colours = {side: mixed(colour, FURTHER if number else 1) for side, colour in COLOURS.items()}
        for child, parent, side in bones(skeleton):
            if not np.isnan(body[[child, parent]]).any():
                ends = [tuple(body[child]), tuple(body[parent])]
                draw.line(ends, fill=colours[side], width=4 * OVERSAMPLE)
        for (x, y), side in zip(body, joint_sides(skeleton)):
            r = 3 * OVERSAMPLE
            if not np.isnan(x):
                draw.ellipse((x - r, y - r, x + r, y + r), fill=colours[side])
    picture = large.resize(PANEL, Image.Resampling.LANCZOS)
    write(picture, said)
    return picture


def write(picture: Image.Image, said: dict[str, Any]) -> None:
    """The words of a panel, in place: the same in every frame."""
    draw = ImageDraw.Draw(picture)
    small, normal = ImageFont.load_default(12), ImageFont.load_default(14)
    left, right = 14, PANEL[0] - 14
    draw.text((PANEL[0] / 2, 16), said["clip"], fill=QUIET, font=small, anchor="mm")
    for rank, guess in enumerate(said["top"]):
        y = HEAD + BODY[1] + rank * GAP
        ink = INK if rank == 0 else QUIET
        draw.text((left, y), guess["name"], fill=ink, font=normal)
        draw.text((right, y), f"{100 * guess['probability']:.1f} %", fill=ink, font=normal, anchor="ra")
        bar = (left, y + 19, right, y + 19 + BAR)
        draw.rectangle(bar, fill=RAISED)
        if (end := left + guess["probability"] * (right - left)) > left + 1:
            draw.rectangle((left, bar[1], end, bar[3]), fill=COLOURS["left"] if rank == 0 else QUIET)


def mixed(colour: str, share: float) -> tuple[int, ...]:
    """`share` of a colour, the rest of the paper."""
    parts = zip(ImageColor.getrgb(colour), ImageColor.getrgb(PAPER))
    return tuple(round(share * own + (1 - share) * paper) for own, paper in parts)


def palette() -> Image.Image:
    """The GIF's colours: what is drawn with, and the shades of smooth edges; few, as edges are its size."""
    shades = [mixed(PAPER, 1), mixed(RAISED, 1)]
    shades += [mixed(colour, share) for colour in COLOURS.values() for share in (1, 0.7, FURTHER, 0.2)]
    shades += [mixed(colour, share) for colour in (INK, QUIET) for share in (1, 0.5)]
    picture = Image.new("P", (1, 1))
    picture.putpalette([part for shade in shades for part in shade])
    return picture


def animation(
    clips: Sequence[np.ndarray], skeleton: Skeleton, said: Sequence[dict[str, Any]], fps: int
) -> bytes:
    """A GIF of clips (T, M, V, C), each a loop at about its own speed, with what was said of it."""
    views = []
    for joints in clips:
        loop = find_loop(joints, round(FRAMES * STEP * fps / 1000))
        views.append(front_view(resample(loop, FRAMES), skeleton, size=BODY))
    pictures = []
    for index in range(FRAMES):
        whole = Image.new("RGB", (PANEL[0] * len(clips), PANEL[1]), PAPER)
        for place, (points, answer) in enumerate(zip(views, said)):
            whole.paste(panel(points[index], skeleton, answer), (place * PANEL[0], 0))
        pictures.append(whole)
    colours = palette()
    first, *others = (one.quantize(palette=colours, dither=Image.Dither.NONE) for one in pictures)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=STEP, loop=0)
    return buffer.getvalue()


# The report ------------------------------------------------------------------------------------------------


def screenshot(page: Path, dark: bool) -> bytes:
    """The report's beginning as PNG, as a light or a dark browser shows it.

    Exits where there is no browser. Published figures are left out of it: they are not of made clips.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"error: none of {', '.join(BROWSERS)} is on PATH; expected one to show the report with")
    with tempfile.TemporaryDirectory() as folder:
        shown, out = Path(folder, "shown.html"), Path(folder, "page.png")
        shown.write_text(page.read_text().replace("</style>", ".known { display: none; }</style>", 1))
        words = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--hide-scrollbars", "--no-first-run", "--disable-background-networking", "--disable-sync",
            "--disable-extensions", f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--virtual-time-budget=4000", f"--user-data-dir={folder}/profile",
            f"--window-size={SHOWN[0]},{SHOWN[1]}", f"--screenshot={out}", shown.as_uri(),
        ]  # fmt: skip
        subprocess.run(words, check=True, capture_output=True, timeout=120)
        picture = Image.open(out).convert("RGB")
    buffer = io.BytesIO()
    picture.quantize(64, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs/pictures")
    parser.add_argument("--keep", type=Path, help="where to make things, and leave them")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each stream")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.keep or Path(scratch)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        said = make(folder, options.epochs)
        manifest = load_manifest(folder / "data/shards" / BENCHMARK)
        joints = clips_by_name(manifest, "test", list(CLIPS))
        options.out.mkdir(parents=True, exist_ok=True)
        by_clip = {one["clip"]: one for one in said}
        clips, answers = [joints[clip] for clip in CLIPS], [by_clip[clip] for clip in CLIPS]
        pictures = {"predict.gif": animation(clips, manifest.body, answers, manifest.fps)}
        for name, dark in (("report-light.png", False), ("report-dark.png", True)):
            pictures[name] = screenshot(folder / "report.html", dark)
    for name, data in pictures.items():
        (options.out / name).write_bytes(data)
        print(f"{options.out / name}: {len(data) / 1e3:.0f} kB")
    for clip in CLIPS:
        best = by_clip[clip]["top"][0]
        print(f"{clip}: {best['name']} {100 * best['probability']:.1f} %")


if __name__ == "__main__":
    main()
