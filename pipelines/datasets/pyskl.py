"""PYSKL's pickles: NTU skeletons in 3D, and HRNet's COCO key points of any data set (Duan et al., 2022).

One file holds everything: `{"split": {name: [clip, ...]}, "annotations": [{...}, ...]}`, each annotation
with `frame_dir` (the clip's name), `label`, `total_frames`, `keypoint` (M, T, V, C), and in 2D `img_shape`
(height, width) and `keypoint_score` (M, T, V).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.cleaning.missing import seen_joints
from pipelines.datasets import ntu
from pipelines.datasets.arrays import (
    NTU_NAMES,
    ArrayClip,
    class_names,
    finish,
    in_halves,
    keep_present,
    listed_dataset,
    numbers,
    one_file,
    read_arrays,
    safe_names,
    some,
    the_file,
)
from pipelines.errors import TsgcError
from pipelines.reading.unpickle import load_pickle
from pipelines.skeleton import COCO_17, NTU_25
from pipelines.spec import TEST, TRAIN, UNUSED, Dataset, Identity, Prepared

SKELETONS = {(25, 3): NTU_25, (17, 2): COCO_17}  # by joints and coordinates
CHANNELS = {3: "xyz", 2: "xys"}  # by coordinates
UNITS = {3: "metres", 2: "halves of the picture"}
# `xsub_train` and `xsub_val` -> xsub; `train` and `val` -> official; `train1` and `test1` -> split1.
SPLIT = re.compile(r"(?:(?P<benchmark>[A-Za-z0-9_-]+)_)?(?P<role>train|val|test)(?P<number>\d*)")
FILES = ("ntu60_3danno", "ntu60_hrnet", "ntu120_3danno", "ntu120_hrnet")  # as PYSKL publishes them
MOST_CLASSES = 10_000


def open_pyskl(locations: Sequence[Path], name: str) -> Dataset:
    """The data set in one pickle, which is read whole. Raises TsgcError: not one file, or anything wrong."""
    path = the_file(locations, "PYSKL pickle")
    content = load_pickle(path)
    if not isinstance(content, dict) or not {"split", "annotations"} <= content.keys():
        raise TsgcError(f"{path}: no `split` and `annotations`, expected a PYSKL pickle")
    annotations = annotations_by_name(path, content["annotations"])
    splits = read_splits(path, content["split"], annotations)
    V, C = _kind(path, next(iter(annotations.values())))
    parts = {clip: _ntu_parts(clip) for clip in annotations}
    is_ntu = all(parts.values())
    clips = {}
    for clip, annotation in annotations.items():
        label = _label(path, clip, annotation)
        known = parts[clip]
        if is_ntu and known is not None and known.label != label:
            raise TsgcError(f"{path}: clip {clip} has label {label}, expected {known.label} for this name")
        fields = dict(known.fields) if is_ntu and known is not None else {}
        fields |= {f"split_{benchmark}": codes.get(clip, UNUSED) for benchmark, codes in splits.items()}
        clips[clip] = Identity(label, fields)

    names = safe_names(annotations)
    found = {names[clip]: [_arrays(path, clip, annotations[clip], C)] for clip in annotations}
    return listed_dataset(
        PYSKL,
        name,
        skeleton=SKELETONS[V, C],
        class_names=class_names(_classes([identity.label for identity in clips.values()], is_ntu), is_ntu),
        clips={names[clip]: identity for clip, identity in clips.items()},
        found=found,
        benchmarks=splits,
        fields=tuple(next(iter(clips.values())).fields),
        read={2: read_2d, 3: read_3d}[C],
        suffix=path.suffix,
        channels=CHANNELS[C],
        called={short: clip for clip, short in names.items()},
        units=UNITS[C],
    )


def read_order(path: Path) -> dict[str, int]:
    """The clips of a pickle in its order, called as `tsgc prepare` calls them, and their labels.

    The pickle is PYSKL's, or a list of its annotations. Raises TsgcError for anything else.
    """
    content = load_pickle(path)
    if isinstance(content, dict):
        content = content.get("annotations")
    annotations = annotations_by_name(path, content)
    names = safe_names(annotations)
    return {names[clip]: _label(path, clip, annotation) for clip, annotation in annotations.items()}


def annotations_by_name(path: Path, annotations: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(annotations, list) or not annotations:
        raise TsgcError(f"{path}: `annotations` is no list of clips, expected a PYSKL pickle")
    found: dict[str, dict[str, Any]] = {}
    for number, annotation in enumerate(annotations):
        clip = annotation.get("frame_dir") if isinstance(annotation, dict) else None
        if not isinstance(clip, str):
            raise TsgcError(f"{path}: annotation {number} has no `frame_dir`, expected the clip's name")
        if clip in found:
            raise TsgcError(f"{path}: clip {clip} comes twice, expected once")
        found[clip] = annotation
    return found


def _kind(path: Path, annotation: Mapping[str, Any]) -> tuple[int, int]:
    """Joints and coordinates of the file's first clip, which every clip has to have."""
    keypoint = annotation.get("keypoint")
    if not isinstance(keypoint, np.ndarray) or keypoint.ndim != 4 or keypoint.shape[2:] not in SKELETONS:
        found = keypoint.shape if isinstance(keypoint, np.ndarray) else "none"
        expected = " or ".join(f"(M, T, {V}, {C})" for V, C in SKELETONS)
        raise TsgcError(
            f"{path}: `keypoint` of clip {annotation['frame_dir']} is {found}, expected {expected};"
            " files that keep key points elsewhere are not read"
        )
    return keypoint.shape[2:]


def _label(path: Path, clip: str, annotation: Mapping[str, Any]) -> int:
    label = annotation.get("label")
    if isinstance(label, np.ndarray | np.generic) and label.ndim == 0 and label.dtype.kind in "iu":
        label = int(label)
    if type(label) is not int or not 0 <= label < MOST_CLASSES:
        raise TsgcError(f"{path}: label of clip {clip} is {label!r}, expected a class from 0")
    return label


def _ntu_parts(clip: str) -> Identity | None:
    """What an NTU name tells; None for any other name."""
    try:
        return ntu.identify(clip, last_setup=32, last_action=120)
    except TsgcError:
        return None


def read_splits(path: Path, split: Any, clips: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Benchmark -> clip -> 0 train, 1 test, of every pair such as `xsub_train` and `xsub_val`.

    Where a benchmark has `val` and `test`, it is tested on `test`, and `val` is unused. Raises TsgcError: no
    pair, a list that names clips without an annotation, a clip in both.
    """
    if not isinstance(split, dict) or not split:
        raise TsgcError(f"{path}: `split` names no lists of clips, expected such as xsub_train and xsub_val")
    roles: dict[str, dict[str, list[str]]] = {}
    for list_name, names in split.items():
        match = SPLIT.fullmatch(list_name) if isinstance(list_name, str) else None
        if not match:
            raise TsgcError(f"{path}: split {list_name!r}, expected a name such as xsub_train or val")
        if not isinstance(names, list | tuple) or not all(isinstance(one, str) for one in names):
            raise TsgcError(f"{path}: split {list_name!r} is no list of clip names")
        if unknown := [one for one in names if one not in clips]:
            raise TsgcError(
                f"{path}: split {list_name!r} names {len(unknown):,} clips without an annotation"
                f" ({some(unknown)}); get the file again"
            )
        benchmark = match["benchmark"] or (f"split{match['number']}" if match["number"] else "official")
        roles.setdefault(benchmark, {})[match["role"]] = list(names)
    splits = {}
    for benchmark, lists in roles.items():
        test = lists.get("test", lists.get("val"))
        if "train" not in lists or test is None:
            raise TsgcError(
                f"{path}: split {benchmark} has {', '.join(lists)}, expected train and val or test"
            )
        if both := set(lists["train"]) & set(test):
            raise TsgcError(f"{path}: split {benchmark} trains and tests on {some(sorted(both))}")
        splits[benchmark] = dict.fromkeys(lists["train"], TRAIN) | dict.fromkeys(test, TEST)
    return splits


def _arrays(path: Path, clip: str, annotation: dict[str, Any], C: int) -> ArrayClip:
    """The clip's key points, and in 2D their scores and the picture's width and height.

    What is wrong with one clip's arrays is said when the clip is read: one bad clip does not stop the rest.
    """
    names = ("keypoint", "total_frames", "keypoint_score", "img_shape")[: 2 if C == 3 else 4]
    arrays = [_array(annotation.get(name)) for name in names]
    return ArrayClip(f"{path}: clip {clip}", tuple(arrays))


def _classes(labels: Sequence[int], is_ntu: bool) -> int:
    """How many classes there are: those of NTU, of which a part may lack some, or up to the highest."""
    highest = max(labels) + 1
    return min(count for count in NTU_NAMES if count >= highest) if is_ntu else highest


def _array(value: Any) -> np.ndarray:
    """Any value as an array; what is none of numbers or text is empty."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of unequal length
        return np.zeros(0)
    return np.zeros(0) if array.dtype.hasobject else array


def _check(source: str, keypoint: np.ndarray, frames: np.ndarray, V: int, C: int) -> np.ndarray:
    """The key points in float32. Raises TsgcError: another shape, or another number of frames than said."""
    if keypoint.ndim != 4 or keypoint.shape[2:] != (V, C):
        raise TsgcError(f"{source}: `keypoint` of shape {keypoint.shape}, expected (M, T, {V}, {C})")
    if frames.shape != () or frames.dtype.kind not in "iu" or frames != keypoint.shape[1]:
        raise TsgcError(f"{source}: `total_frames` is {frames}, `keypoint` has {keypoint.shape[1]} frames")
    return numbers(source, keypoint)


def read_3d(source: str, data: bytes, preset: str) -> Prepared:
    """A 3D clip: bodies that are never there dropped, centred as the preset does. Raises TsgcError."""
    keypoint, frames = read_arrays(data)
    joints = _check(source, keypoint, frames, NTU_25.num_joints, 3).transpose(1, 0, 2, 3)  # (M, T) -> (T, M)
    bodies = keep_present(joints, seen_joints(joints, "xyz", NTU_25))
    return finish(bodies, NTU_25, "xyz", Dataset.fps, preset)


def read_2d(source: str, data: bytes, preset: str) -> Prepared:
    """A 2D clip: x and y from the middle of the picture in halves of its size, and the score (`xys`).

    y goes down, as in PYSKL. Joints that were not seen have score 0; the reference preset puts them at 0.
    Raises TsgcError.
    """
    keypoint, frames, score, shape = read_arrays(data)
    xy = _check(source, keypoint, frames, COCO_17.num_joints, 2)
    if score.shape != xy.shape[:3]:
        raise TsgcError(f"{source}: `keypoint_score` of shape {score.shape}, expected {xy.shape[:3]}")
    if shape.shape != (2,) or shape.dtype.kind not in "iuf" or not (shape > 0).all():
        raise TsgcError(f"{source}: `img_shape` is {shape.tolist()}, expected height and width in pixels")
    joints = np.concatenate([xy, numbers(source, score)[..., None]], axis=-1)
    seen = seen_joints(joints, "xys", COCO_17, zeros=preset == "corrected")
    joints = in_halves(joints, seen, (shape[1], shape[0])).transpose(1, 0, 2, 3)  # (M, T) -> (T, M)
    return finish(keep_present(joints, seen.transpose(1, 0, 2)), COCO_17, "xys", Dataset.fps, preset)


PYSKL = one_file("pyskl", [f"{name}.pkl" for name in FILES], "PYSKL pickle", open_pyskl)
