"""Batches for a training loop of one's own: those of `tsgc train`, on any ranks, from any state."""

import copy
import dataclasses
import json
import math
import pickle

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made.ranks import keep_passes
from made.shard_sets import make_shards
from made.steps import same
from torch.multiprocessing import get_context
from torch.utils.data import DataLoader

from pipelines.errors import TsgcError, UsageError
from shards.load_manifest import load_manifest
from tsgc.config import TrainConfig
from tsgc.data import open_shards
from tsgc.distributed.process import Process
from tsgc.input.mixing import mix
from tsgc.setting import SettingError
from tsgc.step.loss import soft_targets
from tsgc.training.run import build_training

CPU = torch.device("cpu")
SETTINGS = {
    "variant": "tiny", "frames": 16, "crop_min_frames": 2, "batch": 12, "mix_group": 4, "epochs": 3,
    "warmup_epochs": 1, "last_batch": "spread", "rotation": "vertical", "rotation_max": 40.0, "mirror": 0.5,
    "noise": 0.01, "cutmix_span": 0.5, "modality": "bone", "seed": 4,
}  # fmt: skip
CONFIG = TrainConfig(**SETTINGS)


def content(batch):
    return [batch.x, batch.labels, batch.indices]


def equal(one, other):
    """Whether two runs of batches are the same to the bit."""
    return len(one) == len(other) and all(
        a.size == b.size and same(content(a), content(b)) for a, b in zip(one, other)
    )


def test_batches_are_those_of_a_training_run_to_the_bit(shards, folder, tmp_path):
    run = build_training(CONFIG, "ntu60/xsub", folder, tmp_path, Process(0, 1, CPU))
    plain, mixed = shards.train(CONFIG), shards.train(CONFIG, mixed=True)
    assert dataclasses.replace(plain.config, trained_in=run.config.arithmetic) == run.config
    assert len(plain) == run.loader.steps_per_epoch
    for epoch in range(2):
        runs = zip(run.feed.epoch(epoch), plain, mixed, strict=True)
        for ready, batch, soft in runs:
            (part,) = ready.parts
            assert same(content(batch), [part.x, part.labels, ready.step.parts[0].indices])
            assert batch.size == ready.step.size and batch.presence is None
            assert torch.equal(soft.x, mix(part.x, part.partner, part.lam_map))
            targets = soft_targets(part.labels, part.partner, part.lam, 60, CONFIG.label_smoothing)
            assert torch.equal(soft.labels, targets)
        assert plain.epoch == epoch
    names = run.loader.clips.names
    assert plain.names == names and [names[i] for i in batch.indices] == [
        plain.names[i] for i in batch.indices
    ]


def test_presence_comes_with_the_corrected_preset(trained):
    shards = open_shards(trained / "data/shards/ntu60-corrected/xsub")
    train = shards.train(CONFIG, batch=4, mixed=True, mixup_prob=1.0)
    for batch in train:
        assert batch.presence.shape == (len(batch), 16, 2) and batch.labels.shape == (len(batch), 60)
        there = batch.presence
        assert there.min() >= 0 and there.max() == 1
    (batch, *_) = shards.test(CONFIG)
    assert batch.presence.shape == (len(batch), 16, 2)


def test_a_batch_is_taken_apart_as_two(shards):
    train = shards.train(batch=8)
    assert train.shape == (3, 64, 25, 2) and train.config.rotation == "none"
    total = 0
    for x, labels in train:
        assert x.shape[1:] == train.shape and x.dtype == torch.float32 and labels.dtype == torch.int64
        assert len(x) == len(labels)
        total += len(x)
    assert total == len(train.names) == len(shards.manifest.clips["train"])
    moved = next(iter(train)).to("cpu")
    assert moved.size and moved.presence is None


def test_without_a_config_clips_are_whole_and_each_epoch_shows_the_same(shards):
    train = shards.train(batch=8)
    first, second = (torch.cat([batch.x for batch in train]) for _ in range(2))
    assert not torch.equal(first, second)  # another order
    order = [torch.cat([batch.indices for batch in pass_]) for pass_ in (train, train)]
    train.set_epoch(2)
    again = torch.cat([batch.x for batch in train])[order[0].argsort()]
    train.set_epoch(3)
    assert torch.equal(again, torch.cat([batch.x for batch in train])[order[1].argsort()])


@given(
    batch=st.integers(6, 60),
    world=st.integers(2, 3),
    group=st.integers(1, 9),
    last=st.sampled_from(["drop", "spread"]),
    repeats=st.integers(1, 2),
    epoch=st.integers(0, 2),
)
@settings(max_examples=15)
def test_all_ranks_together_have_the_global_batch(folder, batch, world, group, last, repeats, epoch):
    given_ = {"batch": batch, "mix_group": group, "last_batch": last, "repeats": repeats}
    clips = 46 * repeats
    # Two clips a rank in the smallest step: the batch's, or what the clips come to where they are spread.
    assume(batch <= clips if last == "drop" else clips // math.ceil(clips / batch) >= 2 * world)
    shards = open_shards(folder)
    ranks = [shards.train(CONFIG, **given_, rank=rank, world=world) for rank in range(world)]
    whole = shards.train(CONFIG, **given_)
    for batches in (whole, *ranks):
        batches.set_epoch(epoch)
    for batch_, *parts in zip(whole, *ranks, strict=True):
        assert all(part.size == batch_.size for part in parts) and sum(map(len, parts)) == batch_.size
        there = sorted((int(clip), x.sum().item()) for part in parts for clip, x in zip(part.indices, part.x))
        assert there == sorted((int(clip), x.sum().item()) for clip, x in zip(batch_.indices, batch_.x))
    assert len(whole) == len(ranks[0])


def test_the_rank_is_torchruns_unless_it_is_given(shards, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    train, given_ = shards.train(CONFIG), shards.train(CONFIG, rank=1, world=2)
    copied = pickle.loads(pickle.dumps(train))
    monkeypatch.delenv("RANK")
    alone = shards.train(CONFIG)
    assert equal(list(copied), list(given_)) and sum(map(len, alone)) > sum(map(len, given_))
    assert sum(map(len, train)) == len(train.names)  # asked anew at each pass


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_processes_started_with_the_batches_are_ranks_of_their_own(shards, tmp_path, start, workers):
    """As `torch.multiprocessing.spawn` and Lightning's `ddp_spawn` do it: each has its rank and its count."""
    train, given_ = shards.train(CONFIG), [shards.train(CONFIG, rank=rank, world=2) for rank in range(2)]
    for batches in (train, *given_):
        batches.set_epoch(3)
    ranks = [
        get_context(start).Process(target=keep_passes, args=(rank, 2, train, workers, tmp_path))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    for rank, process in enumerate(ranks):
        process.join()
        passes = [[batch.indices.tolist() for batch in given_[rank]] for _ in range(2)]
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == passes
    assert train.epoch == 3


@given(epoch=st.integers(0, 3), step=st.integers(0, 5), world=st.integers(1, 2))
@settings(max_examples=12)
def test_a_state_gives_exactly_the_batches_that_are_left(folder, epoch, step, world):
    """At any step, also none and all, on any number of ranks; then comes the next epoch."""
    shards = open_shards(folder)
    whole = shards.train(CONFIG, rank=0, world=world)
    step = min(step, len(whole))
    whole.set_epoch(epoch)
    before = shards.train(CONFIG)
    before.set_epoch(epoch)
    taken = iter(before)
    for _ in range(step):
        next(taken)
    state = pickle.loads(pickle.dumps(before.state_dict()))
    assert (state["epoch"], state["step"]) == (epoch, step)
    after = shards.train(CONFIG, rank=0, world=world)
    after.load_state_dict(state)
    if step < len(whole):
        assert equal(list(after), list(whole)[step:])
    else:
        list(whole)
    assert equal(list(after), list(whole)) and len(after) == len(whole)


def test_a_pass_that_is_broken_off_is_followed_by_the_next_epoch(shards):
    train = shards.train(CONFIG)
    next(iter(train))
    assert train.state_dict()["step"] == 1
    list(train)
    assert train.epoch == 1


def test_a_state_of_other_batches_is_refused(shards, tmp_path):
    state = shards.train(CONFIG).state_dict()
    with pytest.raises(TsgcError, match="other batches: batch is 12 there, 8 here; seed is 4 there, 5 here"):
        shards.train(CONFIG, batch=8, seed=5).load_state_dict(state)
    with pytest.raises(TsgcError, match=r"other batches: data is [0-9a-f]{64} there"):
        make_shards(tmp_path, clips=40, seed=3)
        open_shards(tmp_path / "xsub").train(CONFIG).load_state_dict(state)
    with pytest.raises(TsgcError, match="other batches: workers is 2 there, 0 here"):
        shards.train(CONFIG).load_state_dict({**state, "workers": 2})
    with pytest.raises(TsgcError, match="no epoch and step"):
        shards.train(CONFIG).load_state_dict({name: state[name] for name in state if name != "epoch"})
    shards.train(CONFIG, modality="joint", mirror=0.0).load_state_dict(state)  # the order is the same


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_of_a_dataloader_give_the_same_batches_epoch_by_epoch(shards, persistent):
    plain, train = shards.train(CONFIG), shards.train(CONFIG)
    loader = DataLoader(train, batch_size=None, num_workers=2, persistent_workers=persistent)
    assert len(loader) == len(plain)
    for epoch in range(2):
        assert equal(list(loader), list(plain)) and train.epoch == plain.epoch == epoch
    with pytest.raises(
        TsgcError, match="workers of a DataLoader are in epoch 1, and how far is theirs to say"
    ):
        train.state_dict()
    train.set_epoch(7)
    assert (train.state_dict()["epoch"], train.state_dict()["step"]) == (7, 0)
    plain.set_epoch(7)
    assert equal(list(loader), list(plain))
    assert equal(list(DataLoader(train, batch_size=None)), list(plain))  # and this process goes on from there


def test_workers_go_on_in_the_midst_of_an_epoch(shards):
    plain, train = shards.train(CONFIG), shards.train(CONFIG)
    taken = iter(plain)
    next(taken)
    train.load_state_dict(plain.state_dict())
    loader = DataLoader(train, batch_size=None, num_workers=2)
    assert equal(list(loader), list(taken))
    assert equal(list(loader), list(plain))


@pytest.mark.slow
def test_workers_that_are_spawned_agree_too(shards):
    plain, train = shards.train(CONFIG), shards.train(CONFIG)
    loader = DataLoader(train, batch_size=None, num_workers=2, multiprocessing_context="spawn")
    assert equal(list(loader), list(plain))
    assert equal(list(train), list(plain))  # their pass is counted here, too


@pytest.mark.parametrize("workers", [0, 2])
def test_torchdatas_stateful_loader_goes_on_exactly(shards, workers):
    """In the midst of an epoch, and where one has ended; also the next epoch is the right one."""
    reason = "torchdata is not installed"
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason=reason).StatefulDataLoader

    def loader():
        return stateful(shards.train(CONFIG), batch_size=None, num_workers=workers)

    plain = shards.train(CONFIG)
    epochs = [list(plain) for _ in range(3)]
    for count in (0, 1, 3, len(plain)):
        before = loader()
        taken = iter(before)
        for _ in range(count):
            next(taken)
        if count == len(plain):
            assert next(taken, None) is None
        after = loader()
        after.load_state_dict(pickle.loads(pickle.dumps(before.state_dict())))
        if count < len(plain):
            assert equal(list(after), epochs[0][count:])
        assert equal(list(after), epochs[1]) and equal(list(after), epochs[2])


def test_the_stateful_protocol_by_workers_of_ones_own(shards, monkeypatch):
    """What a StatefulDataLoader does, without it: a state a worker, each loaded where it came from."""
    from types import SimpleNamespace

    from tsgc.data import train_batches

    worker = SimpleNamespace(id=0, num_workers=2, seed=90)
    monkeypatch.setattr(train_batches, "get_worker_info", lambda: worker)

    def become(number, seed):
        worker.id, worker.seed = number, seed + number

    source = shards.train(CONFIG)
    states, given_ = [], []
    for number, count in ((0, 2), (1, 1)):  # steps 0, 2 and 1
        become(number, 90)
        batches = copy.deepcopy(source)
        taken = iter(batches)
        given_ += [next(taken) for _ in range(count)]
        states.append(batches.state_dict())
    assert [(state["epoch"], state["step"], state["workers"]) for state in states] == [(0, 4, 2), (0, 3, 2)]
    rest = []
    for number, state in enumerate(states):
        become(number, 91)
        batches = copy.deepcopy(source)
        batches.load_state_dict(state)
        rest += list(batches)
        assert batches.epoch == 0 and next(iter(batches)) and batches.epoch == 1
    monkeypatch.undo()
    whole = list(shards.train(CONFIG))
    key = lambda batch: batch.indices.tolist()  # noqa: E731
    assert sorted(map(key, given_ + rest)) == sorted(map(key, whole))


def test_a_dataloader_pins_batches(shards, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())
    batch = next(iter(shards.train(CONFIG)))
    pinned = batch.pin_memory()
    assert same(content(pinned), content(batch)) and pinned.size == batch.size
    assert pinned.x.data_ptr() != batch.x.data_ptr()


def test_batches_survive_copies_and_closing(shards):
    train = shards.train(CONFIG)
    first = list(train)
    for other in (copy.deepcopy(train), pickle.loads(pickle.dumps(train))):
        other.set_epoch(0)
        assert equal(list(other), first)
    train.close()
    train.set_epoch(0)
    assert equal(list(train), first)


def test_every_kind_of_config_is_taken(shards, folder, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("frames: 32\nlr: 1e-3\nepochs: 8\n")
    assert shards.train(file, batch=8).config.frames == 32
    assert shards.train(str(file), batch=8).config.lr == 1e-3
    assert shards.train("recipe", batch=8).config.mix_group == 128  # configs/ntu60.yaml
    assert shards.train("reference", batch=8).config == dataclasses.replace(
        TrainConfig(batch=8), shuffle_window=0
    )
    assert shards.test(CONFIG, batch=5).config.eval_batch == 5
    with pytest.raises(TsgcError, match="mine: no such file; config is recipe, reference, a YAML file"):
        shards.train("mine")
    with pytest.raises(SettingError, match="unknown key 'modalty'; did you mean modality"):
        shards.train(modalty="bone")
    with pytest.raises(UsageError, match="rank is 1 and world None, expected both"):
        shards.train(CONFIG, rank=1)
    with pytest.raises(TsgcError, match="no global batch of 5000"):
        shards.train(CONFIG, batch=5000, last_batch="drop")


def test_labels_are_corrected_as_the_config_says(shards):
    clips = shards.manifest.clips["train"]
    name, crc = clips.names[0], int(clips.crc32[0])
    relabel = {shards.class_names[7]: {name: crc}}
    seen = {
        train.names[int(clip)]: int(label)
        for train in [shards.train(CONFIG, relabel=relabel)]
        for batch in train
        for clip, label in zip(batch.indices, batch.labels)
    }
    assert seen[name] == 7 != int(clips.labels[0])
    assert all(seen[other] == label for other, label in zip(clips.names[1:], clips.labels[1:].tolist()))


def test_damaged_clips_are_left_out_where_that_was_asked_for(tmp_path):
    make_shards(tmp_path, clips=61)
    manifest = load_manifest(tmp_path / "xsub")
    clips, shard = manifest.clips["train"], manifest.shards["train"][0]
    with (tmp_path / "xsub" / shard.file).open("r+b") as file:
        file.seek(int(clips.offsets[1]))
        file.write(b"\xff" * 8)
    with pytest.raises(TsgcError, match=f"damaged: clip {clips.names[1]}"):
        list(open_shards(tmp_path / "xsub").train(CONFIG))
    skipping = open_shards(tmp_path / "xsub", on_error="skip")
    train = skipping.train(CONFIG)
    assert sum(map(len, train)) == len(clips) - 1
    with pytest.raises(TsgcError, match="damaged"):
        skipping.clips()[1]


def test_a_gpu_in_a_worker_is_refused(shards, monkeypatch):
    from tsgc.data import place

    monkeypatch.setattr(place, "get_worker_info", lambda: object())
    with pytest.raises(UsageError, match="device is cuda: workers of a DataLoader make batches on the CPU"):
        shards.train(CONFIG, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nothing is made ahead")
def test_batches_on_a_gpu_are_those_of_the_host(shards):
    plain, there = shards.train(CONFIG, mixed=True), shards.train(CONFIG, mixed=True, device="cuda")
    for _ in range(2):
        for one, other in zip(plain, there, strict=True):
            assert other.x.is_cuda and torch.equal(one.indices, other.indices)
            torch.testing.assert_close(other.x.cpu(), one.x, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(other.labels.cpu(), one.labels)
    there.close()


def test_a_word_that_is_no_device_is_one_line():
    from pipelines.errors import UsageError
    from tsgc.data.place import known_device

    with pytest.raises(UsageError, match="device is 'gpu', expected cpu, cuda or cuda:N"):
        known_device("gpu")
