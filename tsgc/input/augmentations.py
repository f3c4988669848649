"""The random numbers of one optimiser step, drawn on the host, in NumPy, over the whole global batch.

Keyed by (seed, epoch, step) and dealt by position in the global batch: a clip gets the same augmentation,
partner and drop path on any number of ranks. What a recipe does not use is not drawn, and has no columns.
The published recipe's numbers come from one generator, all later augmentations' from a second one, so
that switching one of those on leaves the others as they were.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.skeleton import Skeleton
from tsgc.config import TrainConfig
from tsgc.input.crop import SPEED_SEGMENTS, ticket_draws
from tsgc.input.mixing import cut_parts, cut_spans
from tsgc.input.occlusion import draw_drift


@dataclass(frozen=True)
class Draws:
    """One step's random numbers, a row for each position in the global batch (B)."""

    crop: np.ndarray
    """Uniform (B, 2): size and place of the crop."""
    frames: np.ndarray
    """Uniform (B, sampling.ticket_draws(T)): picks of `frames`; (B, 0) for `crop`."""
    angles: np.ndarray
    """Radians (B, 3) about x, y, z."""
    mixing: np.ndarray
    """A clip's own share of its target (B,); 1 where its group is not mixed."""
    survival: np.ndarray
    """Uniform (B, M, blocks) for drop path."""
    jitter: np.ndarray
    """Uniform (B, T): places within a step of time; (B, 0) without `time_jitter`."""
    speed: np.ndarray
    """Normal (B, SPEED_SEGMENTS): logarithms of relative speeds over `speed`; (B, 0) without."""
    mirror: np.ndarray
    """Whether a clip is mirrored, bool (B,); (0,) without `mirror`, and so on."""
    limbs: np.ndarray
    """Length factors of the bones that end in each joint (B, V)."""
    scale: np.ndarray
    """Factors of x, y, z (B, 3)."""
    joint_offset: np.ndarray
    """What each joint is displaced by over the whole clip (B, V, 3)."""
    noise: np.ndarray
    """Keys (B,) int64, from 0 under 2**32, of each clip's noise: tsgc/input/noise.py makes the numbers."""
    keep_joints: np.ndarray
    """1, or 0 where a joint is dropped (B, V)."""
    keep_axes: np.ndarray
    """1, or 0 where an axis is dropped (B, 3)."""
    occlusion: np.ndarray
    """Rates and phases of the drift of hidden joints (B, 2, COSINES, V, 3): tsgc/input/occlusion.py."""
    blend: np.ndarray
    """Mixup's lambda (B,): 0 where frames or joints are cut out instead; (0,) without CutMix."""
    cut_frames: np.ndarray
    """1 in the frames that a partner gives (B, T)."""
    cut_joints: np.ndarray
    """1 at the joints that a partner gives (B, V)."""


def draw(
    config: TrainConfig,
    epoch: int,
    step: int,
    count: int,
    bodies: int,
    blocks: int,
    skeleton: Skeleton | None = None,
) -> Draws:
    """The step's random numbers for `count` clips; the same for every rank that asks.

    `skeleton` is needed by augmentations that name joints; ValueError where it is then missing.
    """
    rng = np.random.default_rng([config.seed, epoch, step])
    more = np.random.default_rng([config.seed, epoch, step, 1])
    groups = -(-count // config.mix_group)
    mixed = rng.random(groups) < config.mixup_prob
    shares = rng.beta(config.mixup, config.mixup, groups) if config.mixup > 0 else np.ones(groups)
    crop = rng.random((count, 2))
    frames = rng.random((count, ticket_draws(config.frames) if config.sampling == "frames" else 0))
    angles = ROTATIONS[config.rotation](rng, count, config).astype(np.float32)
    survival = rng.random((count, bodies, blocks), dtype=np.float32)
    mixing = np.repeat(np.where(mixed, shares, 1.0), config.mix_group)[:count].astype(np.float32)
    blend = cut_frames = cut_joints = _nothing(count)
    if config.cutmix_span or config.cutmix_part:
        mixing, blend, cut_frames, cut_joints = _cuts(more, config, mixing, mixed, _named(skeleton))
    return Draws(
        crop=crop,
        frames=frames,
        angles=angles,
        mixing=mixing,
        survival=survival,
        jitter=more.random((count, config.frames)) if config.time_jitter else _nothing(count),
        speed=more.standard_normal((count, SPEED_SEGMENTS)) if config.speed else _nothing(count),
        mirror=more.random(count) < config.mirror if config.mirror else np.zeros(0, np.bool_),
        limbs=_limbs(more, count, config, skeleton),
        scale=_scale(more, count, config),
        joint_offset=_offset(more, count, config, skeleton),
        noise=more.integers(2**32, size=count) if config.noise else np.zeros(0, np.int64),
        keep_joints=_keep_joints(more, count, config, skeleton),
        keep_axes=_keep_axes(more, count, config),
        occlusion=_occlusion(more, count, config, skeleton),
        blend=blend,
        cut_frames=cut_frames,
        cut_joints=cut_joints,
    )


def _nothing(count: int) -> np.ndarray:
    return np.zeros((count, 0), np.float32)


def _named(skeleton: Skeleton | None) -> Skeleton:
    if skeleton is None:
        raise ValueError("this recipe's augmentations need to know the skeleton")
    return skeleton


def _no_rotation(rng: np.random.Generator, count: int, config: TrainConfig) -> np.ndarray:
    return np.zeros((count, 3))


def _radians(rng: np.random.Generator, count: int, config: TrainConfig) -> np.ndarray:
    return rng.uniform(-config.rotation_max, config.rotation_max, (count, 3))


def _whole_degrees(rng: np.random.Generator, count: int, config: TrainConfig) -> np.ndarray:
    largest = int(config.rotation_max)
    degrees = rng.integers(-largest, largest, (count, 3), endpoint=True)
    degrees[:, 2] = 0
    return np.deg2rad(degrees)


def _vertical(rng: np.random.Generator, count: int, config: TrainConfig) -> np.ndarray:
    largest = np.array([config.rotation_tilt, config.rotation_max, config.rotation_tilt])
    return np.deg2rad(rng.uniform(-largest, largest, (count, 3)))


ROTATIONS = {
    "none": _no_rotation,
    "radians-xyz": _radians,
    "degrees-yx": _whole_degrees,
    "vertical": _vertical,
}


def _limbs(
    rng: np.random.Generator, count: int, config: TrainConfig, skeleton: Skeleton | None
) -> np.ndarray:
    """Factors of bones; those of a left and a right joint are the same."""
    if not config.limbs:
        return _nothing(count)
    skeleton = _named(skeleton)
    factors = 1 + config.limbs * rng.uniform(-1, 1, (count, skeleton.num_joints))
    for left, right in skeleton.left_right:
        factors[:, right] = factors[:, left]
    return factors.astype(np.float32)


def _scale(rng: np.random.Generator, count: int, config: TrainConfig) -> np.ndarray:
    """One factor for all axes, times one for each."""
    if not (config.scale or config.scale_axes):
        return _nothing(count)
    whole = 1 + config.scale * rng.uniform(-1, 1, (count, 1))
    axes = 1 + config.scale_axes * rng.uniform(-1, 1, (count, 3))
    return (whole * axes).astype(np.float32)


def _offset(
    rng: np.random.Generator, count: int, config: TrainConfig, skeleton: Skeleton | None
) -> np.ndarray:
    if not config.joint_offset:
        return _nothing(count)
    joints = _named(skeleton).num_joints
    return config.joint_offset * rng.standard_normal((count, joints, 3), dtype=np.float32)


def _keep_joints(
    rng: np.random.Generator, count: int, config: TrainConfig, skeleton: Skeleton | None
) -> np.ndarray:
    if not config.drop_joints:
        return _nothing(count)
    dropping = rng.random((count, 1)) < config.drop_joints
    dropped = rng.random((count, _named(skeleton).num_joints)) < config.drop_joints_part
    return 1 - (dropping & dropped).astype(np.float32)


def _keep_axes(rng: np.random.Generator, count: int, config: TrainConfig) -> np.ndarray:
    if not config.drop_axis:
        return _nothing(count)
    dropping = rng.random(count) < config.drop_axis
    dropped = rng.integers(3, size=count)
    return 1 - (dropping[:, None] & (np.arange(3) == dropped[:, None])).astype(np.float32)


def _occlusion(
    rng: np.random.Generator, count: int, config: TrainConfig, skeleton: Skeleton | None
) -> np.ndarray:
    return draw_drift(rng, count, _named(skeleton).num_joints) if config.occlusion else _nothing(count)


def _cuts(
    rng: np.random.Generator, config: TrainConfig, mixing: np.ndarray, mixed: np.ndarray, skeleton: Skeleton
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Own shares, lambdas, and the partner's frames and joints, where some mixed groups are cut instead."""
    count = len(mixing)
    kind = rng.random(len(mixed))
    each = np.arange(count) // config.mix_group
    spans = (mixed & (kind < config.cutmix_span))[each]
    parts = (mixed & (kind >= config.cutmix_span) & (kind < config.cutmix_span + config.cutmix_part))[each]
    length = rng.random(len(mixed))[each]  # a group's clips lose spans of one length
    cut_frames = np.where(spans[:, None], cut_spans(length, rng.random(count), config.frames), 1)
    cut_joints = np.where(parts[:, None], cut_parts(rng.random(count), skeleton), 1)
    blend = np.where(spans | parts, 0, mixing)
    own = 1 - (1 - blend) * cut_frames.mean(1) * cut_joints.mean(1)
    return tuple(array.astype(np.float32) for array in (own, blend, cut_frames, cut_joints))  # type: ignore[return-value]


# Of the draws: what each clip is given before frames are sampled, and what it loses afterwards.
DROPS = ("keep_joints", "keep_axes")


AUGMENTATIONS = ("angles", "limbs", "scale", "joint_offset", "noise", "mirror", "occlusion", *DROPS)


def augmentations(draws: Draws, here: np.ndarray) -> dict[str, np.ndarray]:
    """What the clips at positions `here` (N,) are given and lose, by name, of what is drawn at all."""
    found = {name: getattr(draws, name) for name in AUGMENTATIONS}
    return {name: array[here] for name, array in found.items() if array.size}
