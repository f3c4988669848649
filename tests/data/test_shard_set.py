"""What a shard set gives beside training batches: evaluation, raw clips; where it may lie; its types."""

import pickle
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from made.server import serving
from made.steps import same
from torch.utils.data import DataLoader

import cli
from pipelines.errors import TsgcError, UsageError
from shards.loader import EvalLoader
from tsgc.config import TrainConfig
from tsgc.data import open_shards
from tsgc.distributed.process import Process
from tsgc.training.run import build_training

CPU = torch.device("cpu")
CONFIG = TrainConfig(
    variant="tiny", frames=16, crop_min_frames=2, batch=12, epochs=3, warmup_epochs=1, last_batch="spread",
    modality="bone",
)  # fmt: skip


def equal(one, other):
    """Whether two runs of batches are the same to the bit."""
    content = lambda batch: [batch.x, batch.labels, batch.indices]  # noqa: E731
    return len(one) == len(other) and all(same(content(a), content(b)) for a, b in zip(one, other))


def test_a_set_says_what_it_is(shards):
    assert (shards.benchmark, shards.skeleton.name) == ("ntu60/xsub", "ntu-25")
    assert len(shards.class_names) == 60
    assert repr(shards) == "<ntu60/xsub (reference preset): 46 train and 15 test clips, 60 classes, ntu-25>"


def test_a_url_gives_the_batches_of_the_folder(shards, folder, tmp_path):
    with serving(folder) as server:
        remote = open_shards(server.url, cache=tmp_path / "cache", cache_gb=0.1)
        here, there = shards.train(CONFIG), remote.train(CONFIG)
        assert equal(list(there), list(here)) and there.config.shuffle_window == 16
        assert equal(list(remote.test(CONFIG)), list(shards.test(CONFIG)))
        assert torch.equal(remote.clips()[3][0], shards.clips()[3][0])
    assert len(list((tmp_path / "cache").glob("*.tar"))) > 1


def test_a_folder_that_is_no_set_is_told_which_are(made, here):
    with pytest.raises(TsgcError, match=r"shards: no shard set itself; below it are .*shards/ntu60/xsub$"):
        open_shards(made / "shards")
    with pytest.raises(TsgcError, match="no such file, so no complete shard set; make one with `tsgc shard`"):
        open_shards("ntu60/xsub")
    (here / "data").symlink_to(made)
    with pytest.raises(TsgcError, match=r"no such folder; did you mean data/shards/ntu60/xsub\?"):
        open_shards("ntu60/xsub")
    assert open_shards("data/shards/ntu60/xsub").benchmark == "ntu60/xsub"


def test_every_package_that_is_installed_has_its_types():
    root = Path(cli.__file__).parent
    built = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["only-include"]
    packages = [root / name for name in built if (root / name / "__init__.py").is_file()]
    assert {"pipelines", "shards", "tsgc"} == {package.name for package in packages}
    assert all((package / "py.typed").is_file() for package in packages)


def test_evaluation_batches_have_each_clip_once_in_order(shards, folder, tmp_path):
    run = build_training(CONFIG, "ntu60/xsub", folder, tmp_path, Process(0, 1, CPU))
    test = shards.test(CONFIG, batch=4)
    found = list(test)
    assert len(test) == len(found) and torch.cat([batch.indices for batch in found]).tolist() == list(
        range(len(test.names))
    )
    assert torch.equal(torch.cat([labels for _, labels in found]), test.labels)
    x, _ = run.pipeline.test(next(iter(run.validation)), CPU)
    torch.testing.assert_close(torch.cat([x for x, _ in found]), x)
    ranks = [list(shards.test(CONFIG, batch=4, rank=rank, world=2)) for rank in range(2)]
    dealt = [batch for pair in zip(*ranks) for batch in pair] + ranks[0][len(ranks[1]) :]
    assert equal(dealt, found) and [len(one) for one in ranks] == [
        len(shards.test(CONFIG, batch=4, rank=rank, world=2)) for rank in range(2)
    ]
    workers = DataLoader(pickle.loads(pickle.dumps(test)), batch_size=None, num_workers=2)
    assert equal(list(workers), found) and len(workers) == len(found)
    with pytest.raises(UsageError, match="split is 'val', expected one of train, test, holdout"):
        shards.test(CONFIG, split="val")


def test_raw_clips_are_the_prepared_ones_by_number(shards, folder):
    clips = shards.clips("train")
    (packed,) = EvalLoader(folder, "train", batch=1000)
    assert len(clips) == len(packed) == len(clips.names)
    for number, (joints, label) in enumerate(clips):
        rows = packed.joints[packed.offsets[number] :][: clips.frames[number] * clips.bodies[number]]
        assert torch.equal(joints.flatten(0, 1), rows) and label == clips.labels[number]
        assert joints.shape == (clips.frames[number], clips.bodies[number], 25, 3)
    assert torch.equal(clips[-1][0], joints) and type(label) is int
    with pytest.raises(IndexError):
        clips[len(clips)]
    with pytest.raises(UsageError, match="split is 'val'"):
        shards.clips("val")


def test_raw_clips_travel_to_workers(shards):
    clips = shards.clips("test")
    clips[0]
    for source in (clips, pickle.loads(pickle.dumps(clips))):
        loader = DataLoader(source, batch_size=4, num_workers=2, collate_fn=lambda part: part)
        found = [joints for part in loader for joints, _ in part]
        assert same(found, [joints for joints, _ in clips])
    np.testing.assert_array_equal(clips.labels, shards.manifest.clips["test"].labels)
