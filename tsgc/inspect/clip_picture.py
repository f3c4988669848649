"""Pictures of one clip: a raw file beside its prepared forms, or a clip of a data set by name."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.errors import TsgcError
from pipelines.prepared.store import open_store
from shards.load_manifest import load_manifest
from tsgc.drawing.picture import Pictured
from tsgc.drawing.skeleton import Panel
from tsgc.inspect.preset_differences import TrackedClip
from tsgc.inspect.raw_formats import open_raw

EXAMPLES = 3  # names that an error lists


def raw_clip_picture(path: Path, dataset: str | None) -> Pictured:
    """A raw clip as it is in its file, and as each preset prepares it."""
    look = open_raw(path, dataset)
    joints, present = padded(look.raw, look.skeleton.num_joints)
    panels, notes = [Panel("raw", joints, present, look.channels)], [["as the file has it, every body"]]
    for preset, prepared in look.prepared.items():
        if len(prepared.joints):
            panels.append(Panel(preset, prepared.joints, prepared.present, look.channels))
            notes.append([f"{len(prepared.joints)} frames, prepared with the {preset} preset"])
    lines = [f"{path}: {look.what}"]
    return Pictured(path.stem, lines, panels, look.skeleton, look.fps, notes, label=look.what)


def padded(raw: TrackedClip, V: int) -> tuple[np.ndarray, np.ndarray]:
    """All bodies of a raw clip in one array (T, M, V, 3), and where each is present, (T, M) bool."""
    joints = np.zeros((raw.num_frames, max(1, len(raw.tracks)), V, 3), np.float32)
    present = np.zeros(joints.shape[:2], bool)
    for body, track in enumerate(raw.tracks):
        joints[track.frames, body] = track.joints
        present[track.frames, body] = True
    return joints, present


def store_clip_picture(path: Path, name: str) -> Pictured:
    """A clip of a prepared file, by name."""
    with open_store(path) as store:
        if name not in store.names:
            raise _no_clip(path, name, store.names)
        index = store.names.index(name)
        clip, info = store.clip(index), store.info
        places = {
            benchmark: ("train", "test", "unused")[int(split[index])]
            for benchmark, split in store.splits.items()
        }
    fields = [
        f"{field.removesuffix('s')} {value}"
        for field, value in clip.fields.items()
        if field.removeprefix("split_") not in places
    ]
    lines = [
        f"{name} of {info.dataset}, {info.preset} preset:"
        f" {info.class_names[clip.label]} (class {clip.label})",
        ", ".join([*fields, *(f"{benchmark}: {split}" for benchmark, split in places.items())]),
        clip_size(clip.joints, info.fps),
        f"present: {', '.join(f'{n} frames of body {m}' for m, n in enumerate(clip.present.sum(0), 1))}",
    ]
    panel = Panel(name, clip.joints, clip.present, info.channels)
    label = info.class_names[clip.label]
    return Pictured(name, lines, [panel], info.body, info.fps, label=label)


def shard_clip_picture(path: Path, name: str) -> Pictured:
    """A clip of a shard set, by name."""
    from tsgc.workspace.clips_by_name import clips_by_name  # torch

    manifest = load_manifest(path)
    split = next((split for split, clips in manifest.clips.items() if name in clips.names), None)
    if split is None:
        raise _no_clip(path, name, [each for clips in manifest.clips.values() for each in clips.names])
    clips = manifest.clips[split]
    index = clips.names.index(name)
    joints = clips_by_name(manifest, split, [name])[name]
    label = int(clips.labels[index])
    flags = {"held out": clips.holdout[index], "its joints equal a training clip's": clips.repeats[index]}
    lines = [
        f"{name} of {manifest.benchmark}, {manifest.preset} preset:"
        f" {manifest.class_names[label]} (class {label})",
        ", ".join([f"{split} split, {manifest.shards[split][clips.shards[index]].file}"]
                  + [words for words, true in flags.items() if true]),
        clip_size(joints, manifest.fps),
    ]  # fmt: skip
    panel = Panel(name, joints, channels=manifest.channels)
    return Pictured(name, lines, [panel], manifest.body, manifest.fps, label=manifest.class_names[label])


def clip_size(joints: np.ndarray, fps: float) -> str:
    T, M = joints.shape[:2]
    return f"{T} frames ({T / fps:.1f} s), {M} {'body' if M == 1 else 'bodies'}"


def _no_clip(path: Path, name: str, names: Sequence[str]) -> TsgcError:
    near = [each for each in names if each.startswith(name[:4])] or names
    return TsgcError(
        f"{path}: no clip {name!r} among its {len(names):,}; names are like {', '.join(near[:EXAMPLES])}"
    )
