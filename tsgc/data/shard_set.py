"""A shard set that was opened, and what it gives to a training loop of one's own."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from shards.load_manifest import load_manifest
from shards.manifest import FILE_NAME, Manifest
from shards.options import CACHE_GB, LoaderOptions
from shards.remote import is_url
from tsgc.config import TrainConfig, resolve_config, settings_file
from tsgc.data.eval_batches import EvalBatches
from tsgc.data.raw_clips import RawClips
from tsgc.data.train_batches import TrainBatches

PLAIN = TrainConfig(
    frames=64, bodies=None, crop_min=1.0, crop_min_frames=0, rotation="none", mixup=0.0, mixup_prob=0.0,
    label_smoothing=0.0, last_batch="spread", warmup_epochs=0,
)  # fmt: skip
"""Whole clips, resized to 64 frames; nothing turned, mixed or smoothed."""

Config = TrainConfig | str | Path | None


@dataclass(frozen=True, repr=False)
class ShardSet:
    """A shard set. Made by `open_shards`."""

    manifest: Manifest
    """What the set says of itself: data set, preset, and every clip of both splits."""
    options: LoaderOptions
    """Where remote shards are kept, and what happens to damaged clips."""

    @property
    def benchmark(self) -> str:
        """Data set and split, such as `ntu60/xsub`."""
        return self.manifest.benchmark

    @property
    def skeleton(self) -> Skeleton:
        """Joints, their parents and their names."""
        return self.manifest.body

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        return self.manifest.class_names

    def __repr__(self) -> str:
        manifest = self.manifest
        clips = " and ".join(f"{len(found):,} {split}" for split, found in manifest.clips.items())
        return (
            f"<{manifest.benchmark} ({manifest.preset} preset): {clips} clips,"
            f" {len(manifest.class_names)} classes, {manifest.skeleton}>"
        )

    def train(
        self,
        config: Config = None,
        *,
        device: torch.device | str = "cpu",
        mixed: bool = False,
        rank: int | None = None,
        world: int | None = None,
        **settings: Any,
    ) -> TrainBatches:
        """Training batches, on `device`; each pass over them is the next epoch.

        `config`: None for whole clips, resized to 64 frames, without augmentation; `recipe` for the data
        set's own (`configs/`), `reference` for the published one, a YAML file or a TrainConfig. `settings`
        are fields of TrainConfig that win over it: `batch` (over all ranks), `modality`, `frames`, `seed`.
        `mixed`: x is mixed with partners as the settings say, and labels are soft targets (N, K), smoothed;
        without, nothing is mixed. `rank` and `world`: those of torch.distributed or torchrun, unless given.
        Raises TsgcError: wrong settings, no batch, shards missing or cut; UsageError: half of a rank.
        """
        return TrainBatches(
            self.manifest,
            self._settled(config, settings),
            device=device,
            mixed=mixed,
            rank=rank,
            world=world,
            options=self.options,
        )

    def test(
        self,
        config: Config = None,
        *,
        split: str = "test",
        batch: int | None = None,
        device: torch.device | str = "cpu",
        rank: int | None = None,
        world: int | None = None,
        **settings: Any,
    ) -> EvalBatches:
        """Evaluation batches, on `device`, in the order of the clips; no augmentation, every clip once.

        `config`: as for `train`, or the `config` of training batches. `split`: `test`, `train` or `holdout`.
        `batch`: clips of a batch (the setting `eval_batch`). Raises as `train` does; UsageError: another
        split.
        """
        if batch is not None:
            settings = {**settings, "eval_batch": batch}
        settled = self._settled(config, settings)
        return EvalBatches(
            self.manifest, settled, split, device=device, rank=rank, world=world, options=self.options
        )

    def clips(self, split: str = "train") -> RawClips:
        """The clips themselves, of any length, for a data set of your own making.

        `split`: `train`, `test` or `holdout`. Raises TsgcError: shards missing; UsageError: another split.
        """
        return RawClips(self.manifest, split, self.options)

    def _settled(self, config: Config, settings: dict[str, Any]) -> TrainConfig:
        if config is None:
            base = PLAIN
        elif isinstance(config, TrainConfig):
            base = config
        elif config == "recipe":
            base = resolve_config(self.benchmark)
        elif config == "reference":
            base = resolve_config(self.benchmark, recipe="reference")
        elif not settings_file(Path(config)).is_file():
            known = "recipe, reference, a YAML file of settings, one of configs/ by name or a TrainConfig"
            raise TsgcError(f"{config}: no such file; config is {known}")
        else:
            base = resolve_config(self.benchmark, config=Path(config))
        return replace(base, **settings)


def open_shards(
    path: str | Path,
    *,
    on_error: str = "raise",
    cache: str | Path | None = None,
    cache_gb: float = CACHE_GB,
) -> ShardSet:
    """Open a shard set: the folder that `tsgc shard` wrote, or the URL (text) of one.

    `on_error`: `raise` at a damaged clip, or `skip` it, in training and evaluation batches. Shards of a URL
    are kept in `cache` (default: the user's folder for caches), at most `cache_gb` of them.
    Raises TsgcError where there is no whole shard set.
    """
    options = LoaderOptions(on_error, Path(cache) if cache else None, int(cache_gb * 1e9))
    if not is_url(path) and not (Path(path) / FILE_NAME).is_file():
        _say_where(Path(path))
    return ShardSet(load_manifest(path), options)


def _say_where(path: Path) -> None:
    """Raise TsgcError where sets lie below a folder that is none, or where its name is a benchmark's."""
    depths = ("*", "*/*", "*/*/*")
    below = sorted(file.parent for depth in depths for file in path.glob(f"{depth}/{FILE_NAME}"))
    if below:
        raise TsgcError(f"{path}: no shard set itself; below it are {', '.join(map(str, below))}")
    usual = Path("data/shards") / path
    if (usual / FILE_NAME).is_file():
        raise TsgcError(f"{path}: no such folder; did you mean {usual}?")
