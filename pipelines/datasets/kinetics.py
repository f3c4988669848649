"""Kinetics-Skeleton: OpenPose's JSON, one file a clip (Yan et al., 2018).

The field's download has two folders of clips, `kinetics_train` and `kinetics_val`, and beside them
`kinetics_train_label.json` and `kinetics_val_label.json`, which name each clip's class. A clip:
`{"data": [{"frame_index": 1, "skeleton": [{"pose": [x, y, ...], "score": [...]}]}], "label", "label_index"}`;
x and y are parts of the picture's width and height, y downwards.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.cleaning.actors import THIRD
from pipelines.cleaning.following import in_tracks, stack
from pipelines.cleaning.missing import seen_joints
from pipelines.datasets.arrays import Bodies, finish, listed_dataset, some
from pipelines.errors import TsgcError
from pipelines.formats.other_files import told
from pipelines.reading.json_file import number_array, parse_json
from pipelines.reading.sources import find_clips
from pipelines.skeleton import OPENPOSE_18
from pipelines.spec import TEST, TRAIN, Dataset, Identity, Opener, Prepared

V = OPENPOSE_18.num_joints
LABELS = "_label.json"
SUBSETS = {f"kinetics_train{LABELS}": TRAIN, f"kinetics_val{LABELS}": TEST}
LAST_FRAME = 300  # frames of the data set's clips are numbered to 300: ten seconds
ANY_LENGTH = 0  # of clips to recognise
GAP = 10  # frames that an entry of a clip of any length may stand for: a wild number would fill the memory
KEPT = 2  # bodies of a frame
FPS = Dataset.fps
EXTRA = f"bodies beyond the {KEPT} of highest score in a frame dropped"
MIDDLE = 0.5  # of the picture


def parse(source: str, data: bytes, last: int = LAST_FRAME) -> tuple[np.ndarray, int]:
    """A clip's JSON: (T, M, V, 3) float32 of x right and y up from the middle of the picture, and the score.

    Reference preset. In each frame the bodies of the highest mean score come first, and two are kept; the
    others are counted in the second result. Joints of score 0 are 0. Frames in which nobody is seen are kept
    between others. `last`: the highest number of a frame, or ANY_LENGTH. Raises TsgcError: no JSON, parts
    missing, wrong sizes, not finite.
    """
    frames = _frames(source, data, last)
    dropped = sum(max(0, len(bodies) - KEPT) for bodies in frames)
    joints = stack([bodies[:KEPT] for bodies in frames], V, 3, nobody=0)
    return (joints if len(joints) else np.zeros((0, 1, V, 3), np.float32)), dropped


def _frames(source: str, data: bytes, last: int) -> list[np.ndarray]:
    """The bodies (M, V, 3) of each frame, from the first to the last in which somebody is seen."""
    clip = parse_json(source, data)
    if not isinstance(clip, dict) or not isinstance(clip.get("data"), list):
        raise TsgcError(f"{source}: no list `data`, expected Kinetics-Skeleton JSON; get the file again")
    highest = last or LAST_FRAME + GAP * len(clip["data"])
    frames: dict[int, np.ndarray] = {}
    for entry in clip["data"]:
        index, bodies = _frame(source, entry, highest)
        if index in frames:
            raise TsgcError(f"{source}: frame {index} comes twice, expected once; get the file again")
        if len(bodies):
            frames[index] = bodies
    if not frames:
        return []
    nobody = np.zeros((0, V, 3), np.float32)
    return [frames.get(index, nobody) for index in range(min(frames), max(frames) + 1)]


def _frame(source: str, entry: object, last: int) -> tuple[int, np.ndarray]:
    """A frame's number and its bodies (M, V, 3), highest mean score first, those without a score left out."""
    if not isinstance(entry, dict) or not isinstance(entry.get("skeleton"), list):
        raise TsgcError(f"{source}: a frame without `skeleton`, expected Kinetics-Skeleton JSON")
    index = entry.get("frame_index")
    if type(index) is not int or not 0 <= index <= last:
        raise TsgcError(
            f"{source}: frame_index {index!r}, expected 0 to {last}; a clip of Kinetics has {LAST_FRAME}"
            " at most: get the file again, cut a longer one, or give it to `tsgc predict --window`"
        )
    if not entry["skeleton"]:
        return index, np.zeros((0, V, 3), np.float32)
    try:
        pose = number_array([body["pose"] for body in entry["skeleton"]])
        score = number_array([body["score"] for body in entry["skeleton"]])
    except (TypeError, KeyError, ValueError):
        raise TsgcError(f"{source}: frame {index}: a body without whole `pose` and `score`") from None
    M = len(entry["skeleton"])
    if pose.shape != (M, 2 * V) or score.shape != (M, V):
        raise TsgcError(
            f"{source}: frame {index}: pose {pose.shape} and score {score.shape}, expected {2 * V} and {V}"
            " numbers a body; get the file again"
        )
    if pose.dtype.kind not in "fiu" or score.dtype.kind not in "fiu":
        raise TsgcError(f"{source}: frame {index}: pose or score that is no number; get the file again")
    bodies = np.concatenate([pose.reshape(M, V, 2), score[..., None]], axis=2)
    with np.errstate(over="ignore"):
        bodies = bodies.astype(np.float32)
    if not np.isfinite(bodies).all():
        if np.isinf(bodies).any():
            raise TsgcError(f"{source}: frame {index}: pose or score that is not finite; get the file again")
        bodies[np.isnan(bodies).any(axis=2), 2] = 0
    bodies[..., 0] -= MIDDLE
    bodies[..., 1] = MIDDLE - bodies[..., 1]  # the picture's y goes down
    bodies[bodies[..., 2] == 0] = 0
    order = np.argsort(-bodies[..., 2].mean(axis=1), kind="stable")
    bodies = bodies[order]
    return index, bodies[(bodies[..., 2] != 0).any(axis=1)]


def read(source: str, data: bytes, preset: str, last: int = LAST_FRAME) -> Prepared:
    """A clip as it is stored. Raises TsgcError as `parse`.

    The corrected preset follows people by distance, as the files have no identifiers: the two who show most
    joints are kept.
    """
    if preset == "reference":
        joints, dropped = parse(source, data, last)
        rules = (
            {EXTRA: dropped} if dropped else {}
        )  # bodies are counted frame by frame: these are body-frames
        return finish(Bodies(joints, joints[..., 2] != 0, rules, rules), OPENPOSE_18, "xys", FPS, preset)
    joints = stack(_frames(source, data, last), V, 3)
    seen = seen_joints(joints, "xys", OPENPOSE_18, zeros=False)
    seen &= (joints[..., 0] != -MIDDLE) | (joints[..., 1] != MIDDLE)  # at 0 in the file
    tracks = in_tracks(joints, seen, "xys", FPS, KEPT)
    rules, lost = ({THIRD: n} if n else {} for n in (tracks.dropped, tracks.lost))
    return finish(Bodies(tracks.joints, tracks.seen, rules, lost), OPENPOSE_18, "xys", FPS, preset)


def read_clip(source: str, data: bytes, preset: str) -> Prepared:
    """A clip as `read` gives it. Raises TsgcError too, which says what a file of another kind is."""
    try:
        return read(source, data, preset)
    except TsgcError as error:
        raise told(error, source, data, "kinetics-json") from error


def read_labels(source: str, data: bytes) -> dict[str, dict[str, Any]]:
    """A label file: clip -> `label` and `label_index`. Raises TsgcError for anything else."""
    labels = parse_json(source, data)
    if not isinstance(labels, dict) or not labels:
        raise TsgcError(f"{source}: expected clip names with `label` and `label_index`; get the file again")
    for name, entry in labels.items():
        index = entry.get("label_index") if isinstance(entry, dict) else None
        if type(index) is not int or index < 0 or not isinstance(entry.get("label"), str):
            raise TsgcError(f"{source}: clip {name!r} without `label` and `label_index`; get the file again")
    return labels


def class_numbers(labels: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """The classes and their numbers in the files, in that order: all of Kinetics' or some, from 0 or from 1.

    Raises TsgcError: a number with two names, or a name with two numbers.
    """
    names: dict[int, str] = {}
    numbers: dict[str, int] = {}
    for clip, entry in labels.items():
        number, name = entry["label_index"], entry["label"]
        if names.setdefault(number, name) != name:
            raise TsgcError(
                f"class {number} is {names[number]!r} and, for clip {clip}, {name!r} in the label files"
            )
        if numbers.setdefault(name, number) != number:
            raise TsgcError(
                f"{name!r} is class {numbers[name]} and, for clip {clip}, {number} in the label files"
            )
    return dict(sorted(numbers.items(), key=lambda item: item[1]))


def _note(numbers: Mapping[str, int]) -> str:
    """What to say of classes whose numbers in the files are not those of the result; empty: they are."""
    if list(numbers.values()) == list(range(len(numbers))):
        return ""
    first, last = min(numbers.values()), max(numbers.values())
    return (
        f"classes: {len(numbers):,}, numbered {first} to {last} in the label files, here 0 to"
        f" {len(numbers) - 1} in the same order"
    )


def open_kinetics(locations: Sequence[Path], name: str) -> Dataset:
    """The data set whose label files lie in `locations`. Raises TsgcError: one missing, or wrong."""
    files = find_clips(locations, ".json")
    found = {f"{stem}.json": files.pop(stem) for stem in list(files) if f"{stem}.json" in SUBSETS}
    labels: dict[str, dict[str, Any]] = {}
    splits: dict[str, int] = {}
    usable = 0
    for file_name, split in SUBSETS.items():
        if file_name not in found:
            where = ", ".join(map(str, locations))
            raise TsgcError(f"{where}: no {file_name}; it comes with the download, put it beside the clips")
        said = read_labels(found[file_name][0].source, found[file_name][0].read())
        if both := labels.keys() & said.keys():
            raise TsgcError(f"{found[file_name][0].source}: {some(sorted(both))}: in the training list too")
        labels |= said
        usable += sum(entry.get("has_skeleton", True) is True for entry in said.values())
        splits |= dict.fromkeys(said, split)
    numbers = class_numbers(labels)
    places = {name: place for place, name in enumerate(numbers)}
    clips = {
        clip: Identity(places[entry["label"]], {"split_official": splits[clip]})
        for clip, entry in labels.items()
    }
    return listed_dataset(
        KINETICS,
        name,
        skeleton=OPENPOSE_18,
        class_names=tuple(numbers),
        clips=clips,
        found=files,
        benchmarks=["official"],
        read=read_clip,
        suffix=".json",
        lists=SUBSETS,
        official=(len(labels), usable),
        channels="xys",
        units="parts of the picture",
        note=_note(numbers),
    )


KINETICS = Opener(
    name="kinetics",
    raw=("kinetics-skeleton", "kinetics-skeleton.zip"),
    default_name=lambda locations: "kinetics",
    open=open_kinetics,
)
