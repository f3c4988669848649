"""The description of recordings of one's own, guessed from what lies there, and what each guess rests on."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipelines.datasets.custom import CLIPS, DESCRIPTION, open_custom
from pipelines.errors import TsgcError
from pipelines.files import refuse_existing, write_atomic
from pipelines.first_look.arrays import Arrays, guess_arrays
from pipelines.first_look.labels import classes_of, split_of
from pipelines.formats.clips import find_clips, look
from pipelines.formats.directions import UP, axis_of, from_hips_to_head
from pipelines.formats.recording import as_array
from pipelines.formats.table import ARRAYS, PIXELS, Format
from pipelines.skeleton import SKELETONS, Skeleton
from pipelines.spec import Raw

SAMPLE = 12  # clips that are read for rates, sizes and directions
SIZES = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160))  # pixels; what cameras give
HEAD = "# Written by `tsgc init`: check what it assumed; docs/your-own-data.md says what each key means.\n"


@dataclass(frozen=True)
class Guess:
    """A line of the description."""

    key: str
    value: Any
    why: str
    """What it rests on."""


@dataclass
class FirstLook:
    """What `tsgc init` found."""

    path: Path
    """The description."""
    clips: int
    guesses: list[Guess] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, key: str, value: Any, why: str) -> None:
        """Notes a line of the description."""
        self.guesses.append(Guess(key, value, why))

    def text(self) -> str:
        """The description, each line under what it rests on."""
        return "\n".join([HEAD, *(f"# {one.why}\n{_yaml(one.key, one.value)}" for one in self.guesses)])

    def lines(self) -> list[str]:
        """Lines for the console: what was assumed, and what to do next."""
        return [
            f"{self.path}: {self.clips:,} clips",
            *(f"{one.key}: {_short(one.value)} ({one.why})" for one in self.guesses),
            *(f"warning: {warning}" for warning in self.warnings),
            f"next: look through {self.path}, then tsgc prepare custom --raw {self.path.parent}",
        ]


def first_look(folder: Path, form: str | None = None, overwrite: bool = False) -> FirstLook:
    """Looks at the recordings below a folder and writes its `dataset.yaml`.

    `form`: their format (default: found). Raises TsgcError: no folder, no clips, a description that is there
    already, or files that are no clips of any format.
    """
    if not folder.is_dir():
        raise TsgcError(f"{folder}: no such folder; give the one that your recordings lie in")
    path = folder / DESCRIPTION
    refuse_existing(path, overwrite)
    name = re.sub(r"[^A-Za-z0-9_-]", "-", folder.resolve().name)[:90] or "recordings"
    place = CLIPS if (folder / CLIPS).is_dir() else "."
    seen = look(folder / place, form, name)
    clips = find_clips(folder / place, seen.form)
    said = FirstLook(path, len(clips))
    said.add("name", name, "the folder's name")
    if place != CLIPS:
        said.add("clips", place, f"clips lie beside this file, not in {CLIPS}/")
    said.add(
        "format", seen.form.name if seen.form else ARRAYS, seen.form.what if seen.form else "numbers alone"
    )
    arrays = guess_arrays(clips) if seen.form is None else None
    skeleton = _skeleton(said, seen.form, seen.skeleton, arrays)
    _sampled(said, seen.form, skeleton, clips, arrays)
    _labelled(said, seen.form, list(clips))
    write_atomic(path, said.text().encode())
    try:
        open_custom([folder], name)
    except TsgcError as error:
        said.warnings.append(f"it does not fit yet: {error}")
    return said


def _skeleton(
    said: FirstLook, form: Format | None, seen: Skeleton | None, arrays: Arrays | None
) -> Skeleton | None:
    """The skeleton: as the clips tell, as the format has it, or by the number of joints."""
    if arrays is not None:
        said.add("channels", arrays.channels, arrays.why)
        if arrays.skeleton is None:
            names = arrays.joints or [f"joint {joint}" for joint in range(arrays.num_joints)]
            _own_skeleton(said, names)
            return None
        said.add(
            "skeleton", arrays.skeleton.name, f"{arrays.num_joints} joints: a guess by their number or names"
        )
        return arrays.skeleton
    skeleton = seen or (SKELETONS[form.skeletons[0]] if form and form.skeletons else None)
    if skeleton is None:
        _own_skeleton(said, ["joint 0", "joint 1"])
    elif skeleton.name in SKELETONS:
        said.add("skeleton", skeleton.name, f"{skeleton.num_joints} joints, as the first clips have")
    return skeleton


def _own_skeleton(said: FirstLook, names: Sequence[str]) -> None:
    """Lines for a skeleton that nothing tells, to be filled in."""
    pairs = [[name, name.replace("left", "right")] for name in names if "left" in name]
    said.add("joints", list(names), "in the order of the data; write what nothing names")
    said.add("parents", {names[-1]: names[0]}, "child: parent, for each bone; write them all")
    said.add("left_right", [pair for pair in pairs if pair[1] in names], "what trades places in a mirror")
    said.add("centre", names[0], "the joint that moves to the origin")
    said.warnings.append("no file tells the bones: write joints, parents, left_right and centre")


def _sampled(
    said: FirstLook,
    form: Format | None,
    skeleton: Skeleton | None,
    clips: Mapping[str, Raw],
    arrays: Arrays | None,
) -> None:
    """The frame rate, and the picture's size or the axis that points up, by some of the clips."""
    read = arrays.clips if arrays else []
    rates: set[float] = set()
    sizes: set[tuple[float, float]] = set()
    channels = arrays.channels if arrays else form.channels if form else "xyz"
    for raw in _spread(list(clips.values())) if form and skeleton else []:
        assert form is not None and skeleton is not None
        try:
            recording = form.read(raw.source, raw.read(), skeleton)
            read.append(as_array(raw.source, recording, skeleton.num_joints, channels))
        except TsgcError as error:
            said.warnings.append(str(error))
            continue
        rates |= {round(recording.fps, 3)} if recording.fps else set()
        sizes |= {recording.size} if recording.size else set()
    rate = rates.pop() if len(rates) == 1 else None
    why = "as the files say" if rate else "no file says it: write the camera's or sensor's"
    said.add("fps", _plain(rate or 30), why)
    if channels.startswith("xyz"):
        _up(said, form, skeleton, read)
    elif (form is None or form.units == PIXELS) and not sizes:
        said.add("image_size", _guessed_size(read), "a guess by the largest x and y: write the video's")


def _up(said: FirstLook, form: Format | None, skeleton: Skeleton | None, read: Sequence[np.ndarray]) -> None:
    """The axis that points up: the head is above the hips."""
    ways = [] if skeleton is None else [from_hips_to_head(joints, skeleton.joints) for joints in read]
    known = [way for way in ways if way is not None]
    axis = axis_of(np.mean(known, axis=0)) if known else None
    if axis is not None and (form is None or axis != "y"):
        said.add("up", axis, f"from hips to head is {axis}, in {len(known)} clips")
    elif axis is None:
        said.add("up", "y", f"the clips do not tell which axis points up; one of {', '.join(UP)}")
        said.warnings.append("the clips do not tell which axis points up; `up: y` is assumed")


def _guessed_size(read: Sequence[np.ndarray]) -> list[int]:
    """The smallest usual picture that holds all joints."""
    flat = [joints[..., :2].reshape(-1, 2) for joints in read if joints.size]
    largest = np.nanmax(np.concatenate(flat), axis=0, initial=0) if flat else np.zeros(2)
    if (largest <= 1).all():
        return [1, 1]
    both = [size for wide in SIZES for size in (wide, wide[::-1])]
    fitting = [size for size in both if (largest <= size).all()]
    return list(fitting[0]) if fitting else [int(np.ceil(side)) for side in largest]


def _labelled(said: FirstLook, form: Format | None, clips: Sequence[str]) -> None:
    """Classes and a split."""
    classes = classes_of(clips, form.name if form else ARRAYS)
    if classes is None:
        said.add("classes", ["one", "other"], "neither folders nor names tell classes: write them")
        said.add("labels", {"*": "one"}, "pattern: class")
        said.warnings.append("neither folders nor names tell the classes; write `classes` and `labels`")
    else:
        said.add("classes", classes.names, classes.why)
        if classes.labels:
            said.add("labels", classes.labels, "pattern: class")
    split = split_of(clips, classes.of if classes else {})
    said.add("splits", {split.name: {"train": split.train, "test": split.test}}, split.why)
    if not split.by_person:
        said.warnings.append("no performers in the names: a test on the same people says little about others")


def _spread(values: list[Raw]) -> list[Raw]:
    """SAMPLE of them, evenly apart."""
    return values[:: max(1, -(-len(values) // SAMPLE))]


def _plain(number: float) -> float:
    return int(number) if number == int(number) else number


def _yaml(key: str, value: Any) -> str:
    """A key and its value: tables of words a line each, lists in brackets."""
    if isinstance(value, dict):
        is_words = all(isinstance(one, str) for one in value.values())
        style = False if is_words else None
        return yaml.safe_dump(
            {key: value}, allow_unicode=True, sort_keys=False, default_flow_style=style, width=100
        )
    return f"{key}: {_flow(value, 100)}\n"


def _flow(value: Any, width: int) -> str:
    return _dump(value, True, width).removesuffix("...\n").strip()


def _dump(value: Any, style: bool | None, width: int) -> str:
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False, default_flow_style=style, width=width)


def _short(value: Any) -> str:
    text = _flow(value, 10_000)
    return text if len(text) <= 160 else f"{text[:150]} ..."
