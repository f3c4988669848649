"""Correction of training clips whose class is wrong in the published files."""

import difflib
from collections.abc import Mapping
from dataclasses import replace

from pipelines.errors import TsgcError
from shards.manifest import Manifest


def relabelled(manifest: Manifest, corrections: Mapping[str, Mapping[str, int]]) -> Manifest:
    """The manifest with training clips moved to their true class; test clips keep theirs.

    `corrections`: class name -> the clips that belong to it, by name and the CRC-32 of their numbers as the
    manifest has it. A clip of that name with other numbers is another clip (made data, another preset), and
    keeps its class. Raises TsgcError for a class of such a clip that the manifest does not have, and for a
    clip under two classes.
    """
    if not corrections:
        return manifest
    clips = manifest.clips["train"]
    labels = clips.labels.copy()
    check_once(corrections)
    place = {name: index for index, name in enumerate(clips.names)}
    for class_name, listed in corrections.items():
        found = [place[name] for name in listed if name in place]
        found = [index for index in found if int(clips.crc32[index]) == listed[clips.names[index]]]
        if found and class_name not in manifest.class_names:
            near = difflib.get_close_matches(class_name, manifest.class_names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"classes: {', '.join(manifest.class_names)}"
            raise TsgcError(f"relabel: no class {class_name!r} in {manifest.benchmark}; {hint}")
        if found:
            labels[found] = manifest.class_names.index(class_name)
    return replace(manifest, clips={**manifest.clips, "train": replace(clips, labels=labels)})


def count_moved(before: Manifest, after: Manifest, holdout: bool = False) -> int:
    """Training clips whose class differs; with `holdout` only those that are not held out."""
    clips = before.clips["train"]
    moved = clips.labels != after.clips["train"].labels
    return int((moved & ~clips.holdout if holdout else moved).sum())


def check_once(corrections: Mapping[str, Mapping[str, int]]) -> None:
    """Raise TsgcError for a clip that is listed under two classes."""
    under: dict[str, str] = {}
    for class_name, listed in corrections.items():
        for name in listed:
            if name in under:
                both = f"{under[name]!r} and {class_name!r}"
                raise TsgcError(f"relabel: clip {name} is under both {both}; keep it under one")
            under[name] = class_name
