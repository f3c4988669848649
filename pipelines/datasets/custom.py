"""Your own data: a folder with `dataset.yaml` and one file a clip below `clips/`.

docs/your-own-data.md shows the layout; `custom_clips.py` reads the clips.
"""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from pipelines.channels import in_space
from pipelines.datasets.arrays import listed_dataset, safe_names, some
from pipelines.datasets.custom_clips import Layout, Size, parse_size, read_clip, stored_channels
from pipelines.errors import TsgcError
from pipelines.formats.clips import Look, find_clips, look
from pipelines.formats.directions import UP
from pipelines.formats.table import ARRAYS, PARTS, Format
from pipelines.reading.sources import ends_in
from pipelines.reading.yaml_text import load_yaml
from pipelines.skeleton import Skeleton
from pipelines.skeleton_definition import find_skeleton, parse_definition
from pipelines.spec import TEST, TRAIN, UNUSED, Dataset, Identity, Opener, Raw

DESCRIPTION = "dataset.yaml"
CLIPS = "clips"
CHANNELS = ("xyz", "xys", "xy", "xyzs")
PEOPLE = ("tracked", "untracked")
SAYS_SIZE = (".json", ".csv")  # clips that may have a picture's size in them
SPLIT_CODES = {"train": TRAIN, "test": TEST}
BODY_KEYS = ("joints", "parents", "left_right", "centre")
KEYS = {
    "name",
    "format",
    "clips",
    "up",
    "skeleton",
    *BODY_KEYS,
    "channels",
    "units",
    "fps",
    "people",
    "image_size",
    "classes",
    "labels",
    "splits",
}


def read_description(folder: Path) -> dict[str, Any]:
    """The mapping in `dataset.yaml`. Raises TsgcError: none, not YAML, unknown keys."""
    path = folder / DESCRIPTION
    try:
        content = load_yaml(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise TsgcError(
            f"{path}: no such file; docs/your-own-data.md says what it holds, tsgc init writes one"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise TsgcError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise TsgcError(f"{path}: expected key: value lines, found {type(content).__name__}")
    if unknown := [key for key in content if key not in KEYS]:
        raise TsgcError(f"{path}: unknown key {unknown[0]!r}; known: {', '.join(sorted(KEYS))}")
    return content


def open_custom(locations: Sequence[Path], name: str, form: str | None = None) -> Dataset:
    """The data set that a folder's `dataset.yaml` describes, its clips in the format `form`, if one is given.

    Raises TsgcError for anything wrong in it.
    """
    folder = _folder(locations)
    content = read_description(folder)
    path = folder / DESCRIPTION
    try:
        clips_folder = folder_of_clips(folder, content)
        seen = look(clips_folder, form or _word(content, "format"), name, _named_skeleton(content))
        kind = seen.form
        skeleton = _skeleton(name, content, seen)
        channels = _one_of(content, "channels", CHANNELS, kind.channels if kind else "xyz")
        fps, units = _fps(content), content.get("units", "metres")
        if not isinstance(units, str) or not units:
            raise TsgcError(f"units {units!r}, expected a word")
        classes = _names(content, "classes")
        found = find_clips(clips_folder, kind)
        size, sizes = _image_sizes(content, channels, found, kind)
        untracked = _one_of(content, "people", PEOPLE, "tracked") == "untracked"
        layout = Layout(
            skeleton,
            channels,
            size,
            kind.name if kind else ARRAYS,
            fps=fps,
            sizes=sizes,
            untracked=untracked,
            up=_up(content, channels),
        )
        labels = {clip: _label(clip, content.get("labels"), classes) for clip in found}
        splits = _splits(content, found)
    except TsgcError as error:
        raise TsgcError(f"{path}: {error}") from None
    names = safe_names(found)
    clips = {
        names[clip]: Identity(
            labels[clip], {f"split_{b}": codes.get(clip, UNUSED) for b, codes in splits.items()}
        )
        for clip in found
    }
    return listed_dataset(
        CUSTOM,
        name,
        skeleton=skeleton,
        class_names=tuple(classes),
        clips=clips,
        found={names[clip]: [file] for clip, file in found.items()},
        benchmarks=splits,
        read=partial(read_clip, layout=layout),
        channels=stored_channels(channels),
        people="untracked" if untracked else "",
        up=layout.up if layout.up != "y" else "",
        what=f"{kind.name} ({kind.what}), {skeleton.name}" if kind else "",
        units=units,
        called={short: clip for clip, short in names.items()},
        places=(clips_folder,),
        fps=fps,
    )


def layout_of(spec: Dataset) -> Layout:
    """How the clips of a data set that `open_custom` opened are to be read."""
    reader = spec.presets["corrected"]
    assert isinstance(reader, partial)
    layout: Layout = reader.keywords["layout"]
    return layout


def folder_of_clips(folder: Path, content: Mapping[str, Any]) -> Path:
    """Where a description says that the clips lie: `clips`, beside it, unless it names another folder."""
    return folder / (_word(content, "clips") or CLIPS)


def _folder(locations: Sequence[Path]) -> Path:
    if len(locations) != 1:
        raise TsgcError(f"{some(map(str, locations))}: expected one folder with a {DESCRIPTION}")
    return locations[0]


def _word(content: Mapping[str, Any], key: str) -> str | None:
    value = content.get(key)
    if value is not None and (not isinstance(value, str) or not value):
        raise TsgcError(f"{key} is {value!r}, expected a word")
    return value


def _named_skeleton(content: Mapping[str, Any]) -> str | None:
    """The skeleton that a description names; empty: it defines one; None: it leaves that open."""
    if "skeleton" in content:
        return str(content["skeleton"])
    return "" if any(key in content for key in BODY_KEYS) else None


def _skeleton(name: str, content: Mapping[str, Any], seen: Look) -> Skeleton:
    if _named_skeleton(content) is None and seen.form is not None:
        if seen.skeleton is None and not seen.form.skeletons:
            raise TsgcError(f"{seen.form.what} says no skeleton; give joints, parents, left_right and centre")
        return seen.skeleton or find_skeleton(seen.form.skeletons[0])
    if "skeleton" in content:
        if also := [key for key in BODY_KEYS if key in content]:
            raise TsgcError(f"both `skeleton` and `{also[0]}`; a known skeleton brings its own")
        return find_skeleton(str(content["skeleton"]))
    return parse_definition(name, {key: content.get(key) for key in BODY_KEYS})


def _one_of(content: Mapping[str, Any], key: str, known: Sequence[str], default: str) -> str:
    value = content.get(key, default)
    if value not in known:
        raise TsgcError(f"{key} is {value!r}, expected {', '.join(known)}")
    return value


def _fps(content: Mapping[str, Any]) -> float:
    """Frames a second, a whole number where it is one."""
    fps = content.get("fps", 30)
    if type(fps) not in (int, float) or not 1 <= fps <= 1000:
        raise TsgcError(f"fps {fps!r}, expected a number from 1 to 1000, such as 30 or 29.97")
    return int(fps) if fps == int(fps) else fps


def _up(content: Mapping[str, Any], channels: str) -> str:
    """The axis that points up. Raises TsgcError: no axis, or a picture's."""
    if "up" in content and not in_space(channels):
        raise TsgcError("up is for channels xyz and xyzs: in pictures y goes down; leave it out")
    return _one_of(content, "up", tuple(UP), "y")


def _image_sizes(
    content: Mapping[str, Any], channels: str, clips: Mapping[str, Raw], kind: Format | None
) -> tuple[Size | None, dict[str, Size]]:
    """The size of all pictures, or of each clip's by pattern. Raises TsgcError: wrong, or for no clip."""
    size = content.get("image_size")
    if in_space(channels):
        if size is not None:
            raise TsgcError("image_size is for channels xy and xys; leave it out")
        return None, {}
    if size is None and kind and kind.units == PARTS:
        return (1.0, 1.0), {}
    if size is None and (kind or all(ends_in(file.source, SAYS_SIZE) for file in clips.values())):
        return None, {}  # each clip has to say it
    if not isinstance(size, dict):
        return parse_size(size, "image_size"), {}
    sizes: dict[str, Size] = {}
    for pattern, said in size.items():
        chosen = [file.source for clip, file in clips.items() if fnmatchcase(clip, str(pattern))]
        if not chosen:
            raise TsgcError(f"image_size: no clip is named or matches {pattern!r}")
        found = parse_size(said, f"image_size of {pattern!r}")
        sizes = dict.fromkeys(chosen, found) | sizes  # the first pattern that fits counts
    return None, sizes


def _names(content: Mapping[str, Any], key: str) -> list[str]:
    names = content.get(key)
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
        raise TsgcError(f"{key} is {names!r}, expected a list of names")
    if len(set(names)) < len(names):
        raise TsgcError(f"{key} has a name twice")
    return names


def _label(clip: str, labels: Any, classes: list[str]) -> int:
    """A clip's class: by the first pattern of `labels` that fits, else by its folder."""
    if labels is not None and not isinstance(labels, dict):
        raise TsgcError("labels is no table of pattern: class")
    fitting = (name for pattern, name in (labels or {}).items() if fnmatchcase(clip, str(pattern)))
    name = next(fitting, clip.rpartition("/")[0].rpartition("/")[2])
    if name not in classes:
        raise TsgcError(
            f"clip {clip} has class {name!r}, expected one of {', '.join(classes)};"
            " its folder or a pattern in `labels` says it"
        )
    return classes.index(name)


def _splits(content: Mapping[str, Any], clips: Iterable[str]) -> dict[str, dict[str, int]]:
    """Benchmark -> clip -> 0 train, 1 test. Raises TsgcError: a pattern without a clip, a clip in both."""
    splits = content.get("splits")
    if not isinstance(splits, dict) or not splits:
        raise TsgcError("splits is missing, expected benchmark: {train: [patterns], test: [patterns]}")
    result: dict[str, dict[str, int]] = {}
    for benchmark, lists in splits.items():
        if not isinstance(benchmark, str) or not benchmark.replace("-", "a").replace("_", "a").isalnum():
            raise TsgcError(f"benchmark {benchmark!r}, expected a name of letters, digits, _ and -")
        if not isinstance(lists, dict) or set(lists) != set(SPLIT_CODES):
            raise TsgcError(f"split {benchmark}: expected the lists `train` and `test`")
        codes = result.setdefault(benchmark, {})
        for role, patterns in lists.items():
            for pattern in patterns if isinstance(patterns, list) else [patterns]:
                chosen = [clip for clip in clips if fnmatchcase(clip, str(pattern))]
                if not chosen:
                    raise TsgcError(f"split {benchmark}: no clip is named or matches {pattern!r} ({role})")
                for clip in chosen:
                    if codes.setdefault(clip, SPLIT_CODES[role]) != SPLIT_CODES[role]:
                        raise TsgcError(f"split {benchmark}: clip {clip} is in train and in test")
    return result


def _default_name(locations: Sequence[Path]) -> str:
    folder = _folder(locations)
    return str(read_description(folder).get("name") or folder.resolve().name)


CUSTOM = Opener(name="custom", raw=("custom",), default_name=_default_name, open=open_custom)
