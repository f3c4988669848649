"""NW-UCLA: names, splits and the JSON of its skeletons (Kinect v1, one body; Wang et al., 2014)."""

import re
from pathlib import PurePath

import numpy as np

from pipelines.cleaning.actors import clean
from pipelines.cleaning.centre import centre_present, present_bodies
from pipelines.errors import TsgcError
from pipelines.formats.other_files import saying_what_it_is
from pipelines.reading.json_file import parse_json
from pipelines.reading.track import Track
from pipelines.skeleton import NW_UCLA_20
from pipelines.spec import Dataset, Fields, Identity, Prepared, train_where

NAME = re.compile(r"a(\d{2})_s(\d{2})_e(\d{2})_v(\d{2})")
# Actions in class order; the numbers between them were never released.
ACTIONS = {
    1: "pick up with one hand", 2: "pick up with two hands", 3: "drop trash", 4: "walk around",
    5: "sit down", 6: "stand up", 8: "donning", 9: "doffing", 11: "throw", 12: "carry",
}  # fmt: skip
CLASSES = {action: label for label, action in enumerate(ACTIONS)}
VIEWS = (1, 2, 3)
HOLDOUT_VIEW = 2  # of the training views 1 and 2: a view unseen in training, as at the test


def identify(name: str) -> Identity:
    """What `aAA_sSS_eEE_vVV` tells. Raises TsgcError for any other name, action or view."""
    match = NAME.fullmatch(name)
    if not match:
        raise TsgcError(f"unknown name {name!r}, expected aAA_sSS_eEE_vVV")
    action, performer, episode, view = map(int, match.groups())
    if action not in CLASSES:
        raise TsgcError(
            f"unknown action {action} in {name!r}, expected one of {', '.join(map(str, CLASSES))}"
        )
    if view not in VIEWS:
        raise TsgcError(f"unknown view {view} in {name!r}, expected 1 to 3")
    return Identity(CLASSES[action], {"performers": performer, "episodes": episode, "views": view})


def parse(source: str, data: bytes) -> np.ndarray:
    """Joints of a clip's JSON: (T, 20, 3) float32, metres.

    Raises TsgcError: no JSON, keys missing, another shape, values that are no finite numbers, or a label
    other than the action in the file's name (a file named otherwise, or without a label, is not checked).
    """
    clip = parse_json(source, data)
    if not isinstance(clip, dict) or "skeletons" not in clip:
        raise TsgcError(f"{source}: no `skeletons` and `label`, expected NW-UCLA JSON; get the file again")
    joints = _joint_array(source, clip["skeletons"])
    name = PurePath(source).stem
    if "label" in clip and NAME.fullmatch(name) and clip["label"] != (label := identify(name).label + 1):
        raise TsgcError(f"{source}: label {clip['label']!r}, expected {label} for this name; was it renamed?")
    return joints


def _joint_array(source: str, skeletons: object) -> np.ndarray:
    V = NW_UCLA_20.num_joints
    try:
        joints = np.array(skeletons)
    except ValueError:
        raise TsgcError(f"{source}: frames of unequal size, expected (frames, {V}, 3)") from None
    if joints.ndim != 3 or joints.shape[1:] != (V, 3) or not len(joints):
        raise TsgcError(f"{source}: joints of shape {joints.shape}, expected (frames, {V}, 3)")
    if joints.dtype.kind not in "fiu":
        raise TsgcError(f"{source}: joints that are no numbers, expected metres; get the file again")
    with np.errstate(over="ignore"):
        joints = joints.astype(np.float32)
    if not np.isfinite(joints).all():
        raise TsgcError(f"{source}: joints that are not finite, expected metres; get the file again")
    return joints


def read_reference(source: str, data: bytes) -> Prepared:
    """A clip as the field reads it: joint 2 of frame 1 subtracted, nothing else.

    Min-max scaling is a transform of training. Raises TsgcError as `parse`.
    """
    joints = parse(source, data)[:, None]  # (T, V, C) -> (T, 1, V, C)
    origin = joints[0, 0, NW_UCLA_20.centre].copy()
    present = present_bodies(joints)
    return Prepared(joints - origin, present, origin, seen=int(present.sum()))


def read_corrected(source: str, data: bytes) -> Prepared:
    """A clip centred on the first frame with a body; frames without one are absent, those at the ends gone.

    A frame whose joints all coincide holds no body. Raises TsgcError as `parse`.
    """
    joints = parse(source, data)
    cleaned = clean([Track("the only body", np.arange(len(joints)), joints)], len(joints))
    centred, origin = centre_present(cleaned.joints, cleaned.present, NW_UCLA_20.centre)
    return Prepared(centred, cleaned.present, origin, dict(cleaned.rules), len(joints), dict(cleaned.lost))


def hold_out_view(fields: Fields) -> np.ndarray:
    """Training clips of view 2, so that view 1 trains. Fields (N,) -> (N,) bool."""
    return fields["views"] == HOLDOUT_VIEW


NW_UCLA = Dataset(
    name="nw-ucla",
    skeleton=NW_UCLA_20,
    class_names=tuple(ACTIONS.values()),
    fields=("performers", "episodes", "views"),
    benchmarks={"xview": train_where("views", frozenset((1, 2)))},
    holdout=hold_out_view,
    raw=("NW-UCLA/all_sqe", "NW-UCLA/all_sqe.zip"),
    suffix=".json",
    identify=identify,
    presets={
        preset: saying_what_it_is(read, "nw-ucla")
        for preset, read in (("reference", read_reference), ("corrected", read_corrected))
    },
    official=(1_484, 1_484),
)
