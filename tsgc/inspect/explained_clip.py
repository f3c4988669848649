"""A clip as a run sees it: what it takes it for, and which joints speak for that, and when."""

from dataclasses import replace
from pathlib import Path

from pipelines.errors import TsgcError
from pipelines.prepared.store import open_store
from shards.load_manifest import load_manifest
from tsgc.checkpoint import Description, check_match
from tsgc.drawing.picture import Pictured
from tsgc.drawing.saliency import joint_weights
from tsgc.drawing.skeleton import Panel
from tsgc.explain.summary import joint_rows, movement_line
from tsgc.inference.predict_files import run_lines
from tsgc.inference.raw_clips import Failure, PreparedClip
from tsgc.inference.recogniser import Recogniser, load_run
from tsgc.inspect.clip_picture import clip_size, shard_clip_picture, store_clip_picture
from tsgc.inspect.prepared_file import is_store
from tsgc.inspect.shard_set import is_shard_set
from tsgc.workspace.data_root import pick_shards


def explained_clip(path: Path, name: str | None, run: Path, data_root: Path) -> Pictured:
    """A raw clip, the clip `name` of a prepared file or shard set, or a clip of the run's own shards.

    In the last case `path` is the clip's name, as report and scores have it. Raises TsgcError where there is
    no such clip, or where the run cannot read it.
    """
    recogniser = load_run(run)
    description = recogniser.streams[0].description
    if name is not None and is_store(path):
        check_store(path, description)
        found = store_clip_picture(path, name)
    elif name is not None and is_shard_set(path):
        found = shard_picture(path, name, description)
    elif path.exists():
        found = raw_picture(path, recogniser)
    else:
        found = named_picture(path, description, data_root)
    return explained(found, recogniser)


def check_store(path: Path, description: Description) -> None:
    """Raise TsgcError where a prepared file was not prepared as the run's data."""
    with open_store(path) as store:
        info = store.info
    pairs = {
        "skeleton": (info.skeleton, description.skeleton),
        "preset": (info.preset, description.preset),
        "alignment": (info.alignment or "none", description.alignment or "none"),
    }
    for what, (ours, wanted) in pairs.items():
        if ours != wanted:
            raise TsgcError(
                f"{path}: {what} {ours}, the run was trained on {wanted}; name the file of its data"
            )


def shard_picture(folder: Path, name: str, description: Description) -> Pictured:
    """A clip of a shard set that the run can judge."""
    check_match(description, load_manifest(folder), folder, "name a shard set of its data")
    return shard_clip_picture(folder, name)


def named_picture(path: Path, description: Description, data_root: Path) -> Pictured:
    """A clip of the shards that the run was trained on, by its name alone."""
    try:
        folder = Path(pick_shards(data_root, description.benchmark)[0])
    except TsgcError as error:
        raise TsgcError(
            f"{path}: no such file, and no clip of the run's data by that name: {error}"
        ) from None
    return shard_picture(folder, str(path), description)


def raw_picture(path: Path, recogniser: Recogniser) -> Pictured:
    """A raw clip, prepared as the run's training clips were."""
    recordings = list(recogniser.recordings(path))
    if len(recordings) != 1:
        raise TsgcError(f"{path}: {len(recordings):,} clips; name one of them")
    (clip,) = recordings
    if isinstance(clip, Failure):
        raise TsgcError(clip.reason)
    lines = [
        f"{path}: {clip_size(clip.joints, recogniser.fps)}, prepared with the {recogniser.preset} preset"
    ]
    panel = Panel(clip.clip, clip.joints, channels=recogniser.channels)
    return Pictured(clip.clip, lines, [panel], recogniser.skeleton, recogniser.fps)


def explained(found: Pictured, recogniser: Recogniser) -> Pictured:
    """A clip's picture with the run's answer to it, and its saliency drawn on the joints."""
    (panel,) = found.panels
    clip = PreparedClip(found.title, found.title, panel.joints)
    (answer,) = recogniser.answers([clip], explain=True)
    assert not isinstance(answer, Failure) and answer.saliency is not None
    best = answer.top[0]
    guesses = ", ".join(f"{guess.name} {100 * guess.probability:.1f} %" for guess in answer.top)
    rows = joint_rows(answer.saliency.values, recogniser.skeleton)
    wide = max((len(joint) for joint, _, _ in rows), default=0)
    table = [f"  {joint:<{wide}} {share:>3} % |{times}|" for joint, share, times in rows]
    lines = [
        *found.lines,
        *run_lines(recogniser),
        guesses,
        f"{best.name}: {movement_line(answer.saliency)}",
        f"what speaks for {best.name}, by joint and along time:" if rows else "no joint speaks for it",
        *table,
    ]
    return replace(
        found,
        lines=lines,
        panels=[replace(panel, weights=joint_weights(answer.saliency.values))],
        saliency=answer.saliency,
        recognised=best.name,
    )
