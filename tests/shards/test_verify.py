"""`verify_shards` finds whatever was done to a shard set, and names the shard."""

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from made.shard_sets import make_shards

from shards.load_manifest import load_manifest
from shards.manifest import Manifest
from shards.verify import verify_shards


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_shards(tmp_path_factory.mktemp("verify"))


@pytest.fixture
def own(whole: Manifest, tmp_path: Path) -> Manifest:
    """A copy that a test may damage."""
    shutil.copytree(whole.folder, tmp_path / "set")
    return load_manifest(tmp_path / "set")


def change(path: Path, edit: Callable[[bytearray], object]) -> None:
    data = bytearray(path.read_bytes())
    edit(data)
    path.write_bytes(data)


def edit_manifest(own: Manifest, split: str, column: str, index: int, value: object) -> None:
    content = orjson.loads((own.folder / "manifest.json").read_bytes())
    content["splits"][split]["clips"][column][index] = value
    (own.folder / "manifest.json").write_bytes(orjson.dumps(content))


def test_a_whole_set_has_no_problems(whole):
    seen = []
    assert verify_shards(whole.folder, lambda done, total: seen.append((done, total))) == []
    total = sum(map(len, whole.shards.values()))
    assert seen == [(done, total) for done in range(1, total + 1)]


def test_a_flipped_bit_anywhere_is_found(own):
    path = own.folder / own.shards["test"][0].file
    size = path.stat().st_size
    for position in np.random.default_rng(0).integers(0, size, 40).tolist():
        original = path.read_bytes()
        change(path, lambda data, at=position: data.__setitem__(at, data[at] ^ 4))
        problems = verify_shards(own.folder)
        assert problems
        assert all(path.name in problem and "\n" not in problem for problem in problems)
        path.write_bytes(original)
    assert verify_shards(own.folder) == []


def test_a_changed_payload_names_the_clip(own):
    clips = own.clips["test"]
    path = own.folder / own.shards["test"][0].file
    change(path, lambda data: data.__setitem__(clips.offsets[2], data[clips.offsets[2]] ^ 1))
    assert verify_shards(own.folder) == [
        f"{path}: its sha256 is not the manifest's",
        f"{path}: clip {clips.names[2]}: its bytes do not match its CRC-32",
    ]


@pytest.mark.parametrize("kept", [0, 100, 512, 10_240])
def test_a_shard_cut_anywhere_is_found(own, kept):
    path = own.folder / own.shards["train"][0].file
    change(path, lambda data: data.__delitem__(slice(kept, None)))
    problems = verify_shards(own.folder)
    assert f"{path}: cut: {kept:,} bytes" in problems[0]
    assert all(path.name in problem for problem in problems)


def test_a_shard_cut_at_a_clip_s_end_is_found(own):
    """The cut that stock readers take for the end."""
    clips = own.clips["train"]
    end = int(clips.offsets[0] + clips.lengths[0])
    path = own.folder / own.shards["train"][0].file
    change(path, lambda data: data.__delitem__(slice(end + -end % 512, None)))
    problems = verify_shards(own.folder)
    assert f"{path}: ends before {clips.names[1]}.cls" in problems[-1]


def test_missing_swapped_and_extra_shards_are_named(own):
    one, two, gone = (own.folder / shard.file for shard in own.shards["train"][:3])
    one.rename(own.folder / "aside")
    two.rename(one)
    (own.folder / "aside").rename(two)
    gone.unlink()
    (own.folder / "train-000099.tar").touch()
    problems = verify_shards(own.folder)
    assert any(f"{one}: member 'S001" in problem for problem in problems)
    assert any(f"{two}: member 'S001" in problem for problem in problems)
    assert any(f"{gone}: No such file" in problem for problem in problems)
    assert problems[-1] == f"{own.folder / 'train-000099.tar'}: not in the manifest"


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("labels", 59, "its .cls is b'.*', the manifest says 59"),
        ("names", "somebody", "where somebody.cls belongs"),
        ("crc32", 0, "its bytes do not match its CRC-32"),
        ("repeats", True, "repeats is True, its joints say otherwise"),
    ],
)
def test_a_manifest_that_says_otherwise_is_found(own, column, value, message):
    edit_manifest(own, "test", column, 0, value)
    problems = "\n".join(verify_shards(own.folder))
    assert re.search(message, problems)


def test_an_old_manifest_is_found(own, tmp_path):
    other = make_shards(tmp_path / "other", seed=1)
    shutil.copy(other.folder / "manifest.json", own.folder)
    assert verify_shards(own.folder)


def test_a_manifest_that_does_not_load_is_the_one_problem(tmp_path):
    assert "no such file" in verify_shards(tmp_path)[0]


def test_one_header_is_read_at_a_time(whole, monkeypatch):
    """Python up to 3.11.7 fails, once in thousands, where threads read them side by side."""
    read, within, most = np.lib.format.read_array_header_1_0, [], []

    def watched(stream):
        within.append(stream)
        most.append(len(within))
        time.sleep(0.001)  # lets other threads come
        within.remove(stream)
        return read(stream)

    monkeypatch.setattr(np.lib.format, "read_array_header_1_0", watched)
    assert verify_shards(whole.folder) == []
    assert len(most) > 100 and max(most) == 1
