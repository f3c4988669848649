"""The random numbers of one optimiser step, drawn on the host, in NumPy, over the whole global batch.

Keyed by (seed, epoch, step) and dealt by position in the global batch: a clip gets the same augmentation,
partner and drop path on any number of ranks. What a recipe does not use is not drawn.

The published recipe's numbers come from one generator, those of the augmentations that came after it from a
second one, each in an order that seeds in use depend on. Every other augmentation has a generator of its own,
keyed by its name, so that neither adding nor switching on one changes what others draw.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from zlib import crc32

import numpy as np

from pipelines.skeleton import Skeleton
from tsgc.config import TrainConfig
from tsgc.input import augmentations
from tsgc.input.crop import ticket_draws
from tsgc.input.mixing import draw_cuts, draw_lam

PUBLISHED = ("rotation",)
LATER = (
    "time_jitter", "speed", "mirror", "limbs", "scale", "joint_offset", "noise", "drop_joints", "drop_axis",
    "occlusion",
)  # fmt: skip


@dataclass(frozen=True)
class Draws:
    """One step's random numbers, a row for each position in the global batch (B)."""

    crop: np.ndarray
    """Uniform (B, 2): size and place of the crop."""
    frames: np.ndarray
    """Uniform (B, crop.ticket_draws(T)): picks of `frames`; (B, 0) for `crop`."""
    lam: np.ndarray
    """Lambda (B,): a clip's own part of its target; 1 where its group is not mixed."""
    mixup_lam: np.ndarray
    """Mixup's lambda (B,): 0 where frames or joints are cut out instead; (B, 0) without CutMix."""
    cut_frames: np.ndarray
    """1 in the frames that a partner gives (B, T); (B, 0) without CutMix."""
    cut_joints: np.ndarray
    """1 at the joints that a partner gives (B, V); (B, 0) without CutMix."""
    survival: np.ndarray
    """Uniform (B, M, blocks) for drop path."""
    augmentations: Mapping[str, np.ndarray]
    """Numbers of each augmentation that is on (B, ...), by name."""

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name, those of augmentations too."""
        own = {name: array for name, array in vars(self).items() if name != "augmentations"}
        return {**own, **self.augmentations}

    @classmethod
    def named(cls, arrays: Mapping[str, np.ndarray]) -> "Draws":
        """The draws whose `arrays` are these."""
        own = {field.name: arrays[field.name] for field in fields(cls) if field.name in arrays}
        others = {name: array for name, array in arrays.items() if name not in own}
        return cls(**own, augmentations=others)


def draw(
    config: TrainConfig, epoch: int, step: int, count: int, bodies: int, blocks: int, skeleton: Skeleton
) -> Draws:
    """The step's random numbers for `count` clips; the same for every rank that asks."""
    key = (config.seed, epoch, step)
    published, later = np.random.default_rng(key), np.random.default_rng((*key, 1))
    lam, mixed = draw_lam(published, config, count)
    crop = published.random((count, 2))
    frames = published.random((count, ticket_draws(config.frames) if config.sampling == "frames" else 0))
    lam, mixup_lam, cut_frames, cut_joints = draw_cuts(later, config, lam, mixed, skeleton)
    numbers = draw_augmentations(config, key, count, skeleton, published, later)
    survival = published.random((count, bodies, blocks), dtype=np.float32)
    return Draws(crop, frames, lam, mixup_lam, cut_frames, cut_joints, survival, numbers)


def draw_augmentations(
    config: TrainConfig,
    key: tuple[int, ...],
    count: int,
    skeleton: Skeleton,
    published: np.random.Generator,
    later: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Numbers of each augmentation that is on, for `count` clips, by name."""
    asked = {entry.name: entry.draw for entry in augmentations.AUGMENTATIONS if entry.on(config)}
    generators = {**dict.fromkeys(PUBLISHED, published), **dict.fromkeys(LATER, later)}
    numbers = {}
    for name in (*generators, *(name for name in asked if name not in generators)):
        if law := asked.get(name):
            rng = generators.get(name) or np.random.default_rng((*key, 2, crc32(name.encode())))
            numbers[name] = law(rng, count, config, skeleton)
    return numbers
