"""The manifest: what is written is read, and nothing that does not fit is accepted."""

from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.shard_sets import make_shards

from pipelines.datasets.table import DATASETS
from pipelines.errors import TsgcError
from shards.load_manifest import load_manifest
from shards.manifest import Clips, Manifest, Shard, find_shard_sets


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_shards(tmp_path_factory.mktemp("manifest"))


def damaged(made: Manifest, folder: Path, *keys: str | int, value: object) -> Path:
    """A copy of the manifest with one value replaced, in a folder of its own."""
    content = orjson.loads((made.folder / "manifest.json").read_bytes())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (folder / "manifest.json").write_bytes(orjson.dumps(content))
    return folder


NAMES = st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,90}", fullmatch=True), unique=True, min_size=1, max_size=40)


@given(names=NAMES, data=st.data())
def test_what_is_written_is_read(tmp_path_factory, names, data):
    n = len(names)
    counts = [n - n // 2, n // 2] if n > 1 else [1]

    def numbers(low: int, high: int) -> np.ndarray:
        return np.random.default_rng(data.draw(st.integers(0, 99))).integers(low, high, n, endpoint=True)

    frames, bodies = numbers(1, 300), numbers(1, 2)
    lengths = frames * bodies * 25 * 3 * 4
    shards = np.repeat(np.arange(len(counts)), counts)
    parts = np.split(lengths, np.cumsum(counts)[:-1])
    offsets = np.concatenate([640 + np.cumsum(part) - part for part in parts])
    clips = Clips(
        tuple(names), numbers(0, 1), shards, offsets, lengths, frames, bodies, numbers(0, 2**32 - 1),
        numbers(0, 1).astype(bool), np.zeros(n, bool),
    )  # fmt: skip
    files = tuple(
        Shard(f"train-{s:06d}.tar", 640 + int(part.sum()), "0" * 64, len(part))
        for s, part in enumerate(parts)
    )
    none = clips.select(np.zeros(n, bool))
    manifest = Manifest(
        "d", "d/b", "reference", "ntu-25", 25, "xyz", "metres", 30, "zeros", ("a", "b"), 0, "1", "digest",
        {"train": files, "test": ()}, {"train": clips, "test": none},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("round")
    (folder / "manifest.json").write_bytes(manifest.to_json())
    read = load_manifest(folder, "d/b")
    assert read.to_json() == manifest.to_json()
    assert read.clips["train"].names == clips.names
    assert np.array_equal(read.clips["train"].shards, shards)
    assert read.clips["train"].crc32.dtype == np.int64


def test_a_set_describes_itself(made):
    manifest = load_manifest(made.folder, "ntu60/xsub")
    assert (manifest.dataset, manifest.benchmark, manifest.preset) == ("ntu60", "ntu60/xsub", "reference")
    assert (manifest.skeleton, manifest.num_joints, manifest.channels) == ("ntu-25", 25, "xyz")
    assert (manifest.units, manifest.fps, manifest.absent_body) == ("metres", 30, "zeros")
    assert manifest.class_names == DATASETS["ntu60"].class_names
    assert manifest.max_bodies == 2
    assert manifest.source_digest == "made"
    assert load_manifest(made.folder / "manifest.json").digest == manifest.digest


def test_the_digest_changes_with_the_data(made, tmp_path):
    assert make_shards(tmp_path, seed=1).digest != made.digest


def test_another_benchmark_than_asked_for_is_refused(made):
    with pytest.raises(TsgcError, match="holds ntu60/xsub, expected ntu60/xview"):
        load_manifest(made.folder, "ntu60/xview")


def test_no_manifest_is_no_set(tmp_path):
    with pytest.raises(TsgcError, match=r"manifest.json: no such file, .* `tsgc shard`"):
        load_manifest(tmp_path / "nowhere")


def test_half_a_manifest_is_refused(made, tmp_path):
    data = (made.folder / "manifest.json").read_bytes()
    (tmp_path / "manifest.json").write_bytes(data[: len(data) // 2])
    with pytest.raises(TsgcError, match=r"not whole JSON .*tsgc shard --overwrite"):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    "file",
    ["../train-000000.tar", "/etc/passwd", "a/train-000000.tar", "pipe:cat train-000000.tar", "http://x/t.tar",
     "train-000001.tar", "test-000000.tar", "train-000000.tar\n", ""],
)  # fmt: skip
def test_a_shard_name_that_could_leave_the_folder_is_refused(made, tmp_path, file):
    folder = damaged(made, tmp_path, "splits", "train", "shards", 0, "file", value=file)
    with pytest.raises(TsgcError, match=r"manifest.json: shard file .*, expected 'train-000000.tar'"):
        load_manifest(folder)


def column(name: str, value: object, place: int = 0) -> tuple:
    return ("splits", "train", "clips", name, place), value


DEFECTS = {
    "schema": ((("schema_version",), 2), "schema version 2, expected 1"),
    "type": ((("seed",), "0"), "seed is str, expected int"),
    "joints": ((("num_joints",), 0), "0 joints"),
    "splits": ((("splits",), {"train": {}}), "splits train, expected train, test"),
    "count": (
        (("splits", "train", "shards", 0, "count"), 1),
        "76 train clips are named",
    ),
    "column": ((("splits", "train", "clips", "labels"), [1]), "train labels has 1 entries, expected 76"),
    "name": (column("names", "a/../b"), "clip name 'a/../b' is not made of"),
    "dot": (column("names", "a.b"), "clip name 'a.b' is not made of"),
    "mark": (column("names", "手。势"), "clip name '手。势' is not made of"),
    "newline": (column("names", "a\nb"), r"clip name 'a\\nb' is not made of"),
    "long": (column("names", "a" * 96), "is not made of 1 to 95"),
    "number": (column("names", 5), "names are not all text"),
    "fraction": (column("labels", 0.5), "labels are not all of type int64"),
    "null": (column("crc32", None), "crc32 are not all of type int64"),
    "flag": (column("holdout", 1), "holdout are not all of type bool"),
    "label": (column("labels", 60), r"has a label outside 0..59"),
    "frames": (column("frames", 0), "frames or bodies outside"),
    "huge": (column("frames", 2**62), "frames or bodies outside"),
    "length": (column("lengths", 300), "a length that does not fit its shape"),
    "offset": (column("offsets", -1), "an offset outside its shard"),
    "beyond": (column("offsets", 2**62), "an offset outside its shard"),
    "overlap": (column("offsets", 20_000), "an end beyond its shard or the next clip's start"),
    "crc": (column("crc32", 2**32), "more than 32 bits"),
    "repeat": (column("repeats", True), "called a repeat in the training split"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_manifest_that_does_not_fit_together_is_refused(made, tmp_path, defect):
    (keys, value), message = DEFECTS[defect]
    with pytest.raises(TsgcError, match=rf"manifest.json: .*{message}.*; write the shards again") as error:
        load_manifest(damaged(made, tmp_path, *keys, value=value))
    assert "\n" not in str(error.value)


def test_a_clip_in_both_splits_is_refused(made, tmp_path):
    name = made.clips["test"].names[0]
    folder = damaged(made, tmp_path, "splits", "train", "clips", "names", 0, value=name)
    with pytest.raises(TsgcError, match=f"clip name {name} comes twice"):
        load_manifest(folder)


@given(data=st.data())
def test_any_value_put_anywhere_is_refused_in_one_line_or_harmless(made, tmp_path_factory, data):
    content = orjson.loads((made.folder / "manifest.json").read_bytes())
    place: object = content
    keys: list[str | int] = []
    while isinstance(place, dict | list) and place and (not keys or data.draw(st.booleans())):
        choices = list(place) if isinstance(place, dict) else range(len(place))
        keys.append(data.draw(st.sampled_from(choices)))
        place = place[keys[-1]]  # type: ignore[index]
    odd = st.one_of(st.none(), st.booleans(), st.integers(-3, 2**63), st.text(max_size=3), st.just([]))
    value = data.draw(odd)
    folder = damaged(made, tmp_path_factory.mktemp("any"), *keys, value=value)
    try:
        load_manifest(folder)
    except TsgcError as error:
        assert "\n" not in str(error)


def test_sets_are_found_by_name_and_unfinished_ones_are_not(made, tmp_path):
    for folder in ("ntu60/xsub", "nw-ucla/xview", "ntu60/.xview.partial", "ntu60/empty"):
        (tmp_path / folder).mkdir(parents=True)
        if folder != "ntu60/empty":
            (tmp_path / folder / "manifest.json").write_bytes(b"{}")
    assert find_shard_sets(tmp_path) == [tmp_path / "ntu60/xsub", tmp_path / "nw-ucla/xview"]
