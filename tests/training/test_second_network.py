"""TSGCNeXt2 by the commands: data, gone on with to the bit, scored, fused, taught, exported, explained."""

import json
import re

import numpy as np
import pytest
import torch
from made.command import fails, lose_machine, quick, tsgc
from made.once import once, only_read
from safetensors.torch import load_file

from pipelines.errors import UsageError
from tsgc import load_run
from tsgc.bench.inputs import make_model
from tsgc.bench.options import check_shape
from tsgc.checkpoint import load_model
from tsgc.evaluation.scores import read_scores
from tsgc.explain.embedding import head_inputs
from tsgc.fine_tuning.views import by_views
from tsgc.report.gather import read_adjacency

BENCHMARK, VIEWS = "ntu60/xsub", "joint+bone"
OF_THE_CLIP = ("network.clip_graphs=[2]", "network.clip_attention=[3]")
IN_TIME = ("network.dilated_convs=[2]", "network.clip_sampling=true")
TOGETHER = ("network.meeting=[2,3]", "network.gated=true")
LAYERS = (*OF_THE_CLIP, *IN_TIME, *TOGETHER, "mutual=0.3", "mirror=0")
SHORT = ("epochs=1", "warmup_epochs=0")


def words(data, run, *more, modality=VIEWS, network="tsgcnext2"):
    where = ("--data-root", data, "--run-dir", run, "--network", network)
    layers = LAYERS if network == "tsgcnext2" else ()
    return ["train", BENCHMARK, "--modality", modality, *where, *quick(*layers, "eval_every=1", *more)]


def first(data):
    """A run of TSGCNeXt on the same clips."""
    return data.parent / "runs/ntu60/xsub/tiny/joint/seed0"


@pytest.fixture(scope="module")
def data(trained):
    return trained / "data"


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A folder with a finished `run` of two views; to be read."""
    yield from only_read(
        once(tmp_path_factory, "second-network", lambda folder: tsgc(*words(data, folder / "run")))
    )


@pytest.fixture
def folder(whole):
    return whole / "run"


def test_it_goes_on_at_an_epoch_to_the_bit(folder, data, here, monkeypatch):
    lose_machine(monkeypatch, 1)
    tsgc(*words(data, "cut"), expect=1)
    monkeypatch.undo()
    monkeypatch.chdir(here)
    tsgc(*words(data, "cut"), "--resume")
    for name in ("last", "last-ema"):
        files = [run / f"checkpoints/{name}.safetensors" for run in (folder, here / "cut")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_it_is_named_counted_and_scored_again(folder, data, here):
    assert read_scores(folder / "scores/last.npz").source.variant == "tsgcnext2-tiny"
    said = tsgc("inspect", folder / "checkpoints/last.safetensors")
    assert "TSGCNeXt2 tiny, joint+bone" in said and "mutual=0.3" in said
    found = json.loads(tsgc("info", folder, "--json"))
    assert found["network"] == "TSGCNeXt2 tiny"
    names = [part["name"] for part in found["parts"]]
    assert {"stems.1", "graphs.2", "stages.2.0", "attention.3", "heads.1"} <= {
        *names
    } and "the rest" not in names
    assert {"dilated.2", "sampling", "meeting.2", "meeting.3", "gate"} <= {*names}
    tsgc("evaluate", folder, "--data-root", data, "--run-dir", here / "again")
    before, after = (read_scores(one / "scores/last.npz") for one in (folder, here / "again"))
    assert np.array_equal(before.logits, after.logits)


def test_info_of_the_options_counts_its_views():
    where = ("info", "--network", "tsgcnext2", "--variant", "tiny", "--frames", 32)
    found = json.loads(tsgc(*where, "--set", "modality=joint+bone+joint_motion", "--json"))
    assert found["modality"] == "joint+bone+joint_motion"
    assert sum(part["name"].startswith("stems.") for part in found["parts"]) == 3
    assert "--set frames: give --frames" in fails(*where, "--set", "frames=8", code=2)


def test_it_recognises_and_is_fused_with_the_first(folder, data, here):
    joints = np.random.default_rng(0).normal(size=(30, 1, 25, 3))
    logits = []
    for runs in ([folder], [first(data)], [folder, first(data)]):
        logits.append(load_run(runs, device="cpu").predict(joints)[0].logits)
    np.testing.assert_allclose(logits[2], logits[0] + logits[1], rtol=1e-4, atol=1e-5)
    said = tsgc("ensemble", folder, first(data))
    assert "joint+bone tsgcnext2-tiny" in said and "joint tiny" in said


def test_its_report_draws_what_it_learned(folder, data, here):
    said = tsgc("report", folder, "--explain", 1, "--out", "r.html", "--data-root", data)
    assert "No learned graphs" not in said and "not their features" not in said
    learned = read_adjacency(folder / "checkpoints/last.safetensors").learned
    assert list(learned) == [(0, 0), (1, 0), (2, 0)]
    model, _ = load_model(folder / "checkpoints/last.safetensors")
    x = torch.randn(4, *model.input_shape[:1], model.min_frames, *model.input_shape[1:])
    with head_inputs(model.eval()) as seen:
        model(x)
    assert [one.shape for one in seen] == [(4, 64), (4, 64)] and not torch.equal(*seen)  # of every head


@pytest.mark.slow
def test_it_is_exported_with_parity(folder, data, here):
    said = tsgc("export", folder, "--out", here, "--data-root", data)
    worst = [float(found) for found in re.findall(r"largest difference from PyTorch (\S+)", said)]
    assert len(worst) == 2 and max(worst) < 1e-4


def test_it_learns_from_the_first_and_the_first_from_it(folder, data, here):
    assert "taught by joint" in tsgc(*words(data, "a", *SHORT, "frames=40"), "--teacher", first(data))
    ours = words(data, "b", *SHORT, modality="joint", network="tsgcnext")
    assert "taught by joint+bone" in tsgc(*ours, "--teacher", folder)


def test_it_starts_from_weights_of_the_same_views(folder, data, here):
    said = tsgc(*words(data, "a", *SHORT), "--init", folder)
    loaded, whole = re.search(r"tsgcnext2-tiny, epoch 2\): (\d+) of (\d+) tensors loaded\n", said).groups()
    assert loaded == whole
    said = tsgc(*words(data, "b", *SHORT, modality="bone+bone2"), "--init", folder)
    assert "new: stems.1.0.weight" in said
    refused = fails(*words(data, "c", *SHORT), "--init", first(data))
    assert "no weight of it fits TSGCNeXt2; it is of TSGCNeXt tiny" in refused
    ours = words(data, "d", *SHORT, modality="joint", network="tsgcnext")
    refused = [line for line in tsgc(*ours, "--init", folder, expect=1).splitlines() if "error" in line]
    assert "no block of it fits this network; it is of TSGCNeXt2 tiny" in refused[0]


def test_what_is_a_views_own_goes_by_its_name(folder):
    found = load_file(folder / "checkpoints/last.safetensors")
    own = {name: torch.full_like(tensor, -7) for name, tensor in found.items()}
    settled = by_views(own, found, ("bone", "bone2"), ("joint", "bone"), 3)
    assert torch.equal(settled["heads.0.weight"], found["heads.1.weight"]) and "heads.1.weight" not in settled
    assert torch.equal(settled["stages.0.0.graphs"], found["stages.0.0.graphs"])
    norm, there = (tensors["input_norm.running_var"].view(-1, 2, 3) for tensors in (settled, found))
    assert torch.equal(norm[:, 0], there[:, 1]) and (norm[:, 1] == -7).all()
    for name in ("meeting.3.which", "gate.weight", "gate.bias"):
        assert torch.equal(settled[name][0], found[name][1]) and (settled[name][1] == -7).all(), name
        assert own[name].eq(-7).all()  # which is not written to
    alone = by_views(own, found, ("joint2",), ("bone",), 6)  # one view each: the same
    assert torch.equal(alone["input_norm.weight"], found["input_norm.weight"]) and "stems.0.0.weight" in alone
    assert "input_norm.weight" not in by_views(own, found, ("angle", "bone3"), ("joint", "bone"), 3)


def test_wrong_use_is_one_line_before_a_folder_is_made(data, here):
    for setting, expected in (
        ("network.clip_graphs=[4]", "clip_graphs is [4], expected a list of stages from 1 to 3"),
        ("network.meeting=[0]", "meeting is [0], expected a list of stages from 1 to 3"),
        ("network.gated=1", "gated is 1, expected true or false"),
        ("network.views=3", "network.views is 3: tsgcnext2 takes it from the modality"),
        ("network.heads=3", "unexpected keyword argument 'heads'"),
        ("frames=12", "frames is 12, TSGCNeXt2 takes 16 or more"),
    ):
        said = tsgc(*words(data, "r"), "--set", setting, expect=1).splitlines()[-1]
        assert said.startswith("error: ") and expected in said and not (here / "r").exists()


def test_several_runs_train_side_by_side(data, here):
    many = words(data, "r", *SHORT)
    many = [word for word in many if word not in ("--run-dir", "r")]
    said = tsgc(*many, "--seeds", "0-1", "--runs", "runs")
    assert "mean ± deviation over the seeds" in said
    assert len(list(here.glob("runs/ntu60/xsub/tsgcnext2-tiny/joint+bone/seed*/scores/last.npz"))) == 2


def test_bench_makes_it_of_the_views_that_it_is_asked_for():
    asked = {"variant": "tiny", "skeleton": "nw-ucla-20", "frames": 16, "bodies": 1, "classes": 4, "batch": 2}
    asked |= {"precision": "float32", "steps": 1, "device": "cpu", "network": "tsgcnext2"}
    shape, *_ = check_shape(**asked, modality="joint+bone+joint_motion")
    assert make_model(shape, torch.device("cpu")).network.views == 3 and shape.title == "TSGCNeXt2 tiny"
    with pytest.raises(
        UsageError, match="--modality nonsense: 'nonsense' is none; expected one of joint, bone"
    ):
        check_shape(**asked, modality="nonsense")
