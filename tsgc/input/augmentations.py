"""The table of augmentations, and of the other steps that a clip's joints go through, in their order.

An entry is all that the input pipeline knows of an augmentation: the setting that switches it on, what it
draws (on the host, in NumPy), and what it does to the times of frames, to packed rows or to the network's
input. To add one, write an entry here (a big one in a file of its own, as `occlusion`) and its setting in
tsgc/train_config.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from torch import Tensor

from pipelines.skeleton import Skeleton
from tsgc.config import TrainConfig
from tsgc.input import geometry
from tsgc.input.crop import SPEED_SEGMENTS, play_at_speeds
from tsgc.input.noise import add_noise, draw_keys, noise_values
from tsgc.input.occlusion import check_depth, draw_drift, drift_values, occlude
from tsgc.input.packed_rows import HostRows, Rows, Values
from tsgc.input.rotation import check_rotation, check_space, draw_angles, rotate, turn_view

Generator = np.random.Generator
Tensors = Mapping[str, Tensor]


def send_numbers(numbers: np.ndarray, host: HostRows) -> Values:
    """The numbers of clips as they are, named `numbers`."""
    return Values(sent={"numbers": numbers})


@dataclass(frozen=True)
class Augmentation:
    """One augmentation, or another step that the joints of a clip go through; most have few of these parts.

    `numbers` are its draws for the N clips of a batch; `values` makes arrays of them, which the later parts
    find on the device. No part may wait for the device.
    """

    name: str
    """The setting that switches it on, which its numbers are called by too."""
    on: Callable[[TrainConfig], bool]
    """True where the configuration asks for it."""
    draw: Callable[[Generator, int, TrainConfig, Skeleton], np.ndarray] | None = None
    """Random numbers for clips (count, ...), in training; without it, no chance is in it."""
    times: Callable[[np.ndarray, np.ndarray, TrainConfig], np.ndarray] | None = None
    """(times (N or 1, T) in steps of time from the crop's start, numbers, config) -> times, on the host."""
    values: Callable[[np.ndarray, HostRows], Values] = send_numbers
    """(numbers, host) -> what the device needs."""
    rows: Callable[[Tensor, Tensors, Rows], Tensor] | None = None
    """(joints (rows, V, 2 or 3), values, rows) -> joints, before frames are sampled."""
    scores: Callable[[Tensor, Tensors, Rows], Tensor] | None = None
    """The same for a detector's scores (rows, V, 1), of pictures alone."""
    input: Callable[[Tensor, Tensors], Tensor] | None = None
    """(x (N, M, T, V, C), values) -> x, after frames are sampled and the modality is made of them."""
    lone: Callable[[np.ndarray, TrainConfig, Skeleton], np.ndarray] | None = None
    """`rows` in NumPy, for a lone clip on the host without values, all of whose rows hold a body."""
    check: Callable[[TrainConfig, Skeleton, str], None] | None = None
    """(config, skeleton, channels); TsgcError where it is on and these clips cannot have it."""

    def acts(self, config: TrainConfig, values: Mapping[str, object]) -> bool:
        """True where it does something to a batch: it has `values`, or draws none and is on."""
        return self.name in values or (self.draw is None and self.on(config))


# Times of frames, in steps of time: frame t of the input is at t + 0.5 of T steps through the crop.


def jitter(times: np.ndarray, uniform: np.ndarray, config: TrainConfig) -> np.ndarray:
    """Each frame moved by up to half of `time_jitter` of a step, either way."""
    return times + config.time_jitter * (uniform - 0.5)


def speed(times: np.ndarray, normal: np.ndarray, config: TrainConfig) -> np.ndarray:
    """Parts of the crop played each at a rate of its own."""
    return play_at_speeds(times, np.exp(config.speed * normal))


# Sides, and which way the body looks.


def mirror_values(mirrored: np.ndarray, host: HostRows) -> Values:
    """Rows that are mirrored (rows,) bool, and -1 where an axis is (rows, 1, axes)."""
    signs = np.ones((len(mirrored), 1, host.axes), np.float32)
    signs[mirrored, :, 0] = -1
    return Values({"mirrored": mirrored[host.clip]}, {"signs": signs})


def mirror(joints: Tensor, values: Tensors, rows: Rows) -> Tensor:
    """Joints with x negated, left and right ones swapped."""
    return geometry.swap_sides(joints, values["mirrored"], rows.skeleton) * values["signs"]


def mirror_scores(score: Tensor, values: Tensors, rows: Rows) -> Tensor:
    """Scores of left and right joints swapped."""
    return geometry.swap_sides(score, values["mirrored"], rows.skeleton)


def align(joints: Tensor, values: Tensors, rows: Rows) -> Tensor:
    """Each clip turned until its mean side axis lies along x."""
    present = joints * rows.there[:, None, None]
    return geometry.turn(
        joints, geometry.facing_matrices(present, rows.clip, rows.clips, rows.skeleton), rows.clip
    )


def check_align(config: TrainConfig, skeleton: Skeleton, channels: str) -> None:
    """TsgcError for pictures, and where the skeleton lacks shoulders or hips."""
    check_space("align", channels)
    geometry.trunk_joints(skeleton)


# The lengths of bones.


def draw_limbs(rng: Generator, count: int, config: TrainConfig, skeleton: Skeleton) -> np.ndarray:
    """Factors of the bones that end in each joint (count, V), alike left and right."""
    factors = 1 + config.limbs * rng.uniform(-1, 1, (count, skeleton.num_joints))
    for left, right in skeleton.left_right:
        factors[:, right] = factors[:, left]
    return factors.astype(np.float32)


def limb_values(factors: np.ndarray, host: HostRows) -> Values:
    """The factors (rows, V, 1), 1 at roots."""
    return Values(dealt={"factors": np.where(_roots(host.skeleton), np.float32(1), factors)[:, :, None]})


@cache
def _roots(skeleton: Skeleton) -> np.ndarray:
    """Joints that are their own parents, bool (V,)."""
    return np.arange(skeleton.num_joints) == np.array(skeleton.parents)


def stretch(joints: Tensor, values: Tensors, rows: Rows) -> Tensor:
    """Bones longer or shorter, put together again from the root."""
    return geometry.stretch_limbs(joints, values["factors"], rows.skeleton)


# Where the clip is and how large.


def centre(joints: Tensor, values: Tensors, rows: Rows) -> Tensor:
    """Each clip with the middle of its extents at 0."""
    return geometry.middle_to_zero(joints, rows.clip, rows.clips, rows.there)


def normalise(joints: Tensor, values: Tensors, rows: Rows) -> Tensor:
    """Each clip at one of three scales."""
    where = (rows.clip, rows.clips)
    if rows.config.normalise == "min-max":
        return geometry.min_max(joints, *where, None if rows.count_absent else rows.there)
    if rows.config.normalise == "unit":
        return geometry.unit(joints, *where, rows.there)
    return geometry.spine_scale(joints, *where, rows.there, rows.skeleton)


def lone_normalise(joints: np.ndarray, config: TrainConfig, skeleton: Skeleton) -> np.ndarray:
    """`normalise` of a lone clip."""
    if config.normalise == "min-max":
        return geometry.lone_min_max(joints)
    if config.normalise == "unit":
        return geometry.lone_unit(joints)
    return geometry.lone_spine_scale(joints, skeleton)


def check_normalise(config: TrainConfig, skeleton: Skeleton, channels: str) -> None:
    """TsgcError where `spine` has no shoulders or hips to go by."""
    if config.normalise == "spine":
        geometry.trunk_joints(skeleton)


def draw_scale(rng: Generator, count: int, config: TrainConfig, skeleton: Skeleton) -> np.ndarray:
    """Factors of x, y, z (count, 3): one for all axes, times one for each."""
    whole = 1 + config.scale * rng.uniform(-1, 1, (count, 1))
    axes = 1 + config.scale_axes * rng.uniform(-1, 1, (count, 3))
    return (whole * axes).astype(np.float32)


def draw_offset(rng: Generator, count: int, config: TrainConfig, skeleton: Skeleton) -> np.ndarray:
    """Displacements of each joint over the whole clip, (count, V, 3)."""
    return config.joint_offset * rng.standard_normal((count, skeleton.num_joints, 3), dtype=np.float32)


# What the network does not see.

DROPPED_JOINTS = 0.2  # of the joints, in a clip that loses some


def draw_joints(rng: Generator, count: int, config: TrainConfig, skeleton: Skeleton) -> np.ndarray:
    """1, or 0 where a joint is dropped, (count, V)."""
    dropping = rng.random((count, 1)) < config.drop_joints
    dropped = rng.random((count, skeleton.num_joints)) < DROPPED_JOINTS
    return 1 - (dropping & dropped).astype(np.float32)


def draw_axis(rng: Generator, count: int, config: TrainConfig, skeleton: Skeleton) -> np.ndarray:
    """1, or 0 where an axis is dropped, (count, 3)."""
    dropping = rng.random(count) < config.drop_axis
    dropped = rng.integers(3, size=count)
    return 1 - (dropping[:, None] & (np.arange(3) == dropped[:, None])).astype(np.float32)


def axis_values(keep: np.ndarray, host: HostRows) -> Values:
    """Factors of channels; a score is no axis, and stays."""
    stays = np.ones((len(keep), len(host.channels) - host.axes), np.float32)
    return Values(sent={"keep": np.concatenate([keep[:, : host.axes], stays], axis=1)})


def drop_axis(x: Tensor, values: Tensors) -> Tensor:
    """The input with one axis 0 throughout; of several modalities side by side, in each."""
    keep = values["keep"]
    return x * keep.repeat(1, x.shape[-1] // keep.shape[1])[:, None, None, None, :]


AUGMENTATIONS: tuple[Augmentation, ...] = (
    Augmentation(
        "time_jitter",
        on=lambda config: config.time_jitter > 0,
        draw=lambda rng, count, config, skeleton: rng.random((count, config.frames)),
        times=jitter,
    ),
    Augmentation(
        "speed",
        on=lambda config: config.speed > 0,
        draw=lambda rng, count, config, skeleton: rng.standard_normal((count, SPEED_SEGMENTS)),
        times=speed,
    ),
    Augmentation(
        "mirror",
        on=lambda config: config.mirror > 0,
        draw=lambda rng, count, config, skeleton: rng.random(count) < config.mirror,
        values=mirror_values,
        rows=mirror,
        scores=mirror_scores,
    ),
    Augmentation("align", on=lambda config: config.align != "none", rows=align, check=check_align),
    Augmentation(
        "limbs", on=lambda config: config.limbs > 0, draw=draw_limbs, values=limb_values, rows=stretch
    ),
    Augmentation(
        "rotation",
        on=lambda config: config.rotation != "none",
        draw=draw_angles,
        rows=rotate,
        check=check_rotation,
    ),
    Augmentation("view_turn", on=lambda config: False, rows=turn_view),  # its numbers are a view's (tta.py)
    Augmentation(
        "occlusion",
        on=lambda config: config.occlusion > 0,
        draw=draw_drift,
        values=drift_values,
        rows=occlude,
        check=check_depth,
    ),
    Augmentation(
        "centre",
        on=lambda config: config.centre == "middle" and config.normalise in ("none", "spine"),
        rows=centre,
        lone=lambda joints, config, skeleton: geometry.lone_middle_to_zero(joints),
    ),
    Augmentation(
        "normalise",
        on=lambda config: config.normalise != "none",
        rows=normalise,
        lone=lone_normalise,
        check=check_normalise,
    ),
    Augmentation(
        "scale",
        on=lambda config: config.scale > 0 or config.scale_axes > 0,
        draw=draw_scale,
        values=lambda factors, host: Values(dealt={"factors": factors[:, None, : host.axes]}),
        rows=lambda joints, values, rows: joints * values["factors"],
    ),
    Augmentation(
        "joint_offset",
        on=lambda config: config.joint_offset > 0,
        draw=draw_offset,
        values=lambda offset, host: Values(dealt={"offset": offset[..., : host.axes]}),
        rows=lambda joints, values, rows: geometry.displace(joints, values["offset"], rows.there),
    ),
    Augmentation(
        "noise",
        on=lambda config: config.noise > 0,
        draw=draw_keys,
        values=noise_values,
        rows=add_noise,
    ),
    Augmentation(
        "drop_joints",
        on=lambda config: config.drop_joints > 0,
        draw=draw_joints,
        input=lambda x, values: x * values["numbers"][:, None, None, :, None],
    ),
    Augmentation(
        "drop_axis",
        on=lambda config: config.drop_axis > 0,
        draw=draw_axis,
        values=axis_values,
        input=drop_axis,
    ),
)
