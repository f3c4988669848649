"""A shard set as text: what it is, its size, its balance, held-out and repeated clips."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipelines.prepared.histogram import bars, named_bars
from shards.load_manifest import load_manifest
from shards.manifest import FILE_NAME, Manifest


def is_shard_set(path: Path) -> bool:
    """Whether a path is a manifest, or a folder that has one."""
    return path.name == FILE_NAME or (path / FILE_NAME).is_file()


def shard_lines(path: Path) -> list[str]:
    """Lines about a shard set, from its manifest. Raises TsgcError where that is damaged."""
    manifest = load_manifest(path)
    return [*about_shard_set(manifest), *sizes(manifest), *splits(manifest), *classes(manifest)]


def about_shard_set(manifest: Manifest) -> list[str]:
    aligned = f", aligned ({manifest.alignment})" if manifest.alignment else ""
    return [
        f"{manifest.folder}: {manifest.benchmark}, {manifest.preset} preset{aligned}",
        f"skeleton {manifest.skeleton}, {manifest.channels} in {manifest.units},"
        f" {manifest.fps} frames a second, absent second body: {manifest.absent_body}",
        f"clips in the order of seed {manifest.seed}; made by tsgc {manifest.tool_version}, raw clips"
        f" {manifest.source_digest[:12]}, manifest {manifest.digest[:12]}",
    ]


def sizes(manifest: Manifest) -> list[str]:
    lines = []
    for split, shards in manifest.shards.items():
        megabytes = [shard.bytes / 1e6 for shard in shards]
        each = f" ({min(megabytes):,.1f} to {max(megabytes):,.1f} each)" if len(shards) > 1 else ""
        lines.append(
            f"{split}: {len(manifest.clips[split]):,} clips in {len(shards):,}"
            f" {'shard' if len(shards) == 1 else 'shards'}, {sum(megabytes):,.1f} MB{each}"
        )
    return lines


def splits(manifest: Manifest) -> list[str]:
    """Lines about held-out and repeated clips, lengths and bodies."""
    train, test = manifest.clips["train"], manifest.clips["test"]
    lines = [
        f"held out for --holdout: {_share(train.holdout)} of the training clips",
        f"test clips whose joints equal a training clip's: {_share(test.repeats)}",
    ]
    for split, clips in manifest.clips.items():
        lines += [f"frames a clip, {split}:", *bars(Counter(clips.frames.tolist()))]
        lines += [f"bodies a clip, {split}:", *bars(Counter(clips.bodies.tolist()))]
    return lines


def classes(manifest: Manifest) -> list[str]:
    """Lines about the clips of each class, and their balance."""
    lines = []
    for split, clips in manifest.clips.items():
        counts = Counter(clips.labels.tolist())
        lines.append(f"classes, {split}: {balance(counts, len(manifest.class_names))}")
        lines += named_bars(
            {f"{label} {name}": counts[label] for label, name in enumerate(manifest.class_names)}
        )
    return lines


def balance(counts: Mapping[int, int], classes: int) -> str:
    """How many classes have clips, and the fewest and most clips of one class."""
    there = [n for n in counts.values() if n]
    if not there:
        return "no clips"
    return f"{len(there)} of {classes} have clips, {min(there):,} to {max(there):,} each"


def _share(flags: np.ndarray) -> str:
    return f"{int(flags.sum()):,} of {len(flags):,} ({100 * flags.mean():.1f} %)" if len(flags) else "none"
