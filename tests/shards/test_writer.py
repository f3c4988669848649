"""Writing shards: the same bytes, whole or not at all, readable by everybody."""

import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset
from made.shard_sets import SHARD_BYTES, make_shards

from pipelines.datasets.table import DATASETS
from pipelines.errors import TsgcError
from pipelines.prepared.store import Clip, open_store
from pipelines.prepared.writer import StoreWriter
from shards import whole_folder as folders
from shards import writer
from shards.load_manifest import load_manifest
from shards.manifest import SPLITS, Manifest
from shards.verify import verify_shards
from shards.writer import SHARDS_PER_JOB, write_shards


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_shards(tmp_path_factory.mktemp("writer"))


@pytest.fixture(scope="module")
def prepared(made: Manifest) -> Path:
    return made.folder.parent / "made.h5"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def files(manifest: Manifest, split: str) -> list[str]:
    return [str(manifest.folder / shard.file) for shard in manifest.shards[split]]


def test_the_same_input_and_seed_give_the_same_bytes_at_any_number_of_jobs(prepared, tmp_path):
    small = {"shard_bytes": SHARD_BYTES // 5}  # enough shards for a second process to start
    for jobs in (1, 2):
        write_shards(prepared, "xsub", tmp_path / str(jobs), jobs=jobs, **small)
    assert len(contents(tmp_path / "1")) > 2 * SHARDS_PER_JOB
    assert contents(tmp_path / "2") == contents(tmp_path / "1")


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_is_one_line_and_leaves_nothing(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_write_shard", die)
    with pytest.raises(
        TsgcError, match=r"^a worker process died \(SIGKILL\(-9\).*\); if memory was short, run"
    ) as error:
        write_shards(prepared, "xsub", tmp_path / "set", jobs=2, shard_bytes=SHARD_BYTES // 5)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_another_seed_gives_another_order_of_the_same_clips(made, prepared, tmp_path):
    other = write_shards(prepared, "xsub", tmp_path / "xsub", seed=1, jobs=1)
    for split in SPLITS:
        assert other.clips[split].names != made.clips[split].names
        assert set(other.clips[split].names) == set(made.clips[split].names)


def test_splits_hold_what_the_prepared_file_says(made, prepared):
    with open_store(prepared) as store:
        for split, code in SPLITS.items():
            expected = [name for name, s in zip(store.names, store.splits["xsub"]) if s == code]
            assert sorted(made.clips[split].names) == sorted(expected)
            assert list(made.clips[split].names) != expected  # shuffled


def test_held_out_clips_are_the_data_set_s(made, prepared):
    with open_store(prepared) as store:
        train = store.splits["xsub"] == 0
        mask = DATASETS["ntu60"].holdout({name: values[train] for name, values in store.fields.items()})
        expected = {name for name, held in zip(np.array(store.names)[train], mask) if held}
    clips = made.clips["train"]
    assert expected
    assert {name for name, held in zip(clips.names, clips.holdout) if held} == expected


def test_a_test_clip_with_a_training_clip_s_joints_is_marked(made):
    clips = made.clips["test"]
    assert [name for name, repeats in zip(clips.names, clips.repeats) if repeats] == ["S001C003P003R002A039"]
    assert not made.clips["train"].repeats.any()


def test_shards_are_of_about_one_size(made):
    sizes = [shard.bytes for shard in made.shards["train"]]
    assert len(sizes) > 3
    assert max(sizes) < 2 * min(sizes)


@pytest.mark.parametrize("split", SPLITS)
def test_stock_webdataset_reads_every_clip(made, prepared, split):
    samples = list(webdataset.WebDataset(files(made, split), shardshuffle=False).decode())
    clips = made.clips[split]
    assert [sample["__key__"] for sample in samples] == list(clips.names)
    with open_store(prepared) as store:
        for i, sample in enumerate(samples):
            clip = store.clip(store.names.index(clips.names[i]))
            assert sample["npy"].dtype == np.float32
            assert np.array_equal(sample["npy"], clip.joints)
            assert sample["npy"].shape[:2] == (clips.frames[i], clips.bodies[i])
            assert sample["cls"] == clips.labels[i] == clip.label
            assert sample["json"]["class_name"] == DATASETS["ntu60"].class_names[clip.label]
            assert sample["json"]["performers"] == clip.fields["performers"]
            assert sample["json"]["split"] == split


def test_stock_webdataset_reads_them_with_its_security_on(made):
    code = (
        "import sys, webdataset; samples = webdataset.WebDataset(sys.argv[1:], shardshuffle=False).decode(); "
        "print(sum(sample['npy'].size > 0 for sample in samples))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *files(made, "test")],
        env=os.environ | {"WDS_SECURE": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.strip() == "25"


def test_plain_tar_agrees_with_the_manifest(made):
    for split in SPLITS:
        clips = made.clips[split]
        names = []
        for number, file in enumerate(files(made, split)):
            data = Path(file).read_bytes()
            with tarfile.open(file) as tar:
                for member in tar:
                    header = data[member.offset : member.offset + 512]
                    assert header[257:265] == b"ustar\x0000"
                    assert member.type == tarfile.REGTYPE
                    assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
                    names.append(member.name)
            for i in np.flatnonzero(clips.shards == number):
                start, end = clips.offsets[i], clips.offsets[i] + clips.lengths[i]
                assert np.frombuffer(data[start:end], "<f4").size == clips.frames[i] * clips.bodies[i] * 75
        assert names == [f"{name}.{kind}" for name in clips.names for kind in ("cls", "json", "npy")]


def test_an_existing_set_is_kept_unless_overwriting(made, prepared, tmp_path):
    out = tmp_path / "xsub"
    write_shards(prepared, "xsub", out, jobs=1)
    before = contents(out)
    with pytest.raises(TsgcError, match="xsub: exists already; pass --overwrite"):
        write_shards(prepared, "xsub", out, jobs=1, seed=1)
    assert contents(out) == before
    write_shards(prepared, "xsub", out, jobs=1, shard_bytes=SHARD_BYTES, overwrite=True)
    assert contents(out) == contents(made.folder)
    assert [path.name for path in tmp_path.iterdir()] == ["xsub"]


def test_a_folder_with_other_things_is_never_replaced(prepared, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(TsgcError, match=r"holds other files \(thesis.tex, ...\)"):
        write_shards(prepared, "xsub", tmp_path, jobs=1, overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from shards.writer import write_shards
def progress(done, total):
    if done > total // 2:
        os.kill(os.getpid(), signal.SIGKILL)
prepared, out, size = sys.argv[1:]
write_shards(Path(prepared), "xsub", Path(out), jobs=1, shard_bytes=int(size), progress=progress)
"""


def test_a_killed_writer_leaves_nothing_acceptable_and_a_rerun_gives_the_same_set(made, prepared, tmp_path):
    out = tmp_path / "xsub"
    killed = subprocess.run([sys.executable, "-c", KILLED, prepared, out, str(SHARD_BYTES)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [".xsub.partial"]
    assert list((tmp_path / ".xsub.partial").glob("*.tar"))
    for folder in (out, tmp_path / ".xsub.partial"):
        with pytest.raises(TsgcError, match="no complete shard set"):
            load_manifest(folder)
    write_shards(prepared, "xsub", out, jobs=1, shard_bytes=SHARD_BYTES)
    assert contents(out) == contents(made.folder)
    assert [path.name for path in tmp_path.iterdir()] == ["xsub"]


def test_a_failing_writer_cleans_up_and_keeps_the_old_set(prepared, tmp_path):
    out = tmp_path / "xsub"
    write_shards(prepared, "xsub", out, jobs=1)
    before = contents(out)

    def full(done: int, total: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(TsgcError, match="xsub: no space left on the disk"):
        write_shards(prepared, "xsub", out, jobs=1, overwrite=True, progress=full)
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["xsub"]


def test_too_little_space_is_told_before_writing(prepared, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 0})
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(TsgcError, match=r"0 MiB free, about \d+ MiB needed"):
        write_shards(prepared, "xsub", tmp_path / "xsub", jobs=1)
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_set_do_not_mix(prepared, tmp_path):
    out = tmp_path / "xsub"

    def meanwhile(done: int, total: int) -> None:
        with pytest.raises(TsgcError, match="another process is writing these shards"):
            write_shards(prepared, "xsub", out, jobs=1)

    write_shards(prepared, "xsub", out, jobs=1, progress=meanwhile)
    assert verify_shards(out) == []


def test_a_writer_that_is_done_leaves_what_the_next_one_writes(tmp_path, monkeypatch):
    """That one may begin as soon as the set has its name, while the old set is still being deleted."""
    out, partial = tmp_path / "xsub", tmp_path / ".xsub.partial"
    following, begun, remove = folders.new_folder(out, overwrite=True), [], folders.shutil.rmtree

    def meanwhile(path: Path, **how: bool) -> None:
        if not (begun or partial.exists()):
            begun.append(following.__enter__())
        remove(path, **how)

    for text in ("old", "new"):
        with folders.new_folder(out, overwrite=True) as folder:
            (folder / "manifest.json").write_text(text)
            if text == "new":
                monkeypatch.setattr(folders.shutil, "rmtree", meanwhile)
    assert (out / "manifest.json").read_text() == "new"
    (begun[0] / "manifest.json").write_text("next")
    following.__exit__(None, None, None)
    assert (out / "manifest.json").read_text() == "next"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_set_that_gets_its_name_as_another_writer_begins_is_not_replaced(tmp_path, monkeypatch, overwrite):
    out, partial, lock = tmp_path / "xsub", tmp_path / ".xsub.partial", folders.fcntl.flock

    def late(descriptor: int, how: int) -> None:
        (partial / "manifest.json").touch()
        partial.rename(out)
        lock(descriptor, how)

    monkeypatch.setattr(folders.fcntl, "flock", late)
    busy = pytest.raises(TsgcError, match="another process is writing these shards")
    with busy, folders.new_folder(out, overwrite):
        pass
    assert [path.name for path in out.iterdir()] == ["manifest.json"]


def test_a_set_that_is_finished_as_another_writer_begins_is_kept(tmp_path, monkeypatch):
    out, make = tmp_path / "xsub", Path.mkdir

    def meanwhile(path: Path, **how: bool) -> None:
        make(out)
        (out / "manifest.json").touch()
        make(path, **how)

    monkeypatch.setattr(Path, "mkdir", meanwhile)
    with pytest.raises(TsgcError, match="exists already"), folders.new_folder(out, overwrite=False):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["xsub"]


def test_an_unknown_benchmark_is_refused_with_the_known_ones(prepared, tmp_path):
    with pytest.raises(TsgcError, match="no benchmark 'xset'; it has xsub, xview"):
        write_shards(prepared, "xset", tmp_path / "xset", jobs=1)


@pytest.mark.parametrize("name", ["a.b", "../a", "pipe:x", "é.", "a" * 96, "手" * 32])
def test_a_clip_name_that_tars_cannot_carry_is_refused(prepared, tmp_path, name):
    with open_store(prepared) as store:
        clip = store.clip(0)
        with StoreWriter(tmp_path / "odd.h5", store.info, tuple(store.fields)) as odd:
            odd.append(Clip(name, clip.label, clip.joints, clip.present, clip.origin, clip.fields))
            odd.finish({"xsub": np.zeros(1, np.int8)})
    with pytest.raises(TsgcError, match=r"odd.h5: clip name .* is not made of"):
        write_shards(tmp_path / "odd.h5", "xsub", tmp_path / "xsub", jobs=1)
