"""Three networks that are not ours, each from its training to its report: a GRU, a transformer, ST-GCN++."""

import json
import re
import signal
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from made.clips import ntu_clip
from made.command import quick, tsgc
from made.own_networks import write_network
from made.ranks import lines
from made.ranks import tsgc as in_processes

from tsgc import load_run
from tsgc.evaluation.scores import read_scores
from tsgc.network.own import code as own_code
from tsgc.networks import short_name
from tsgc.training import epoch

pytestmark = pytest.mark.slow

BOTH = """
import torch
from torch import nn


class GRU(nn.Module):
    def __init__(self, skeleton, num_classes, *, bodies, channels, frames, width=8, drop=0.1):
        super().__init__()
        self.gru = nn.GRU(bodies * channels * skeleton.num_joints, width, batch_first=True)
        self.drop = nn.Dropout(drop)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):  # (N, C, T, V, M) -> (N, K)
        x = x.permute(0, 2, 1, 3, 4).flatten(2)  # (N, T, C*V*M)
        return self.head(self.drop(self.gru(x)[0].mean(1)))


class Transformer(nn.Module):
    def __init__(self, skeleton, num_classes, *, bodies, channels, frames, width=8, drop=0.1):
        super().__init__()
        self.embed = nn.Linear(channels * skeleton.num_joints, width)
        self.place = nn.Parameter(torch.randn(1, frames, width) / 8)
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, drop, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x, presence=None):  # (N, C, T, V, M), (N, T, M) -> (N, K)
        N, C, T, V, M = x.shape
        x = self.embed(x.permute(0, 4, 2, 1, 3).reshape(N * M, T, C * V)) + self.place
        x = self.encoder(x).reshape(N, M, T, -1)
        if presence is None:
            return self.head(x.mean((1, 2)))
        there = presence.transpose(1, 2)[..., None]  # (N, M, T, 1)
        return self.head((x * there).sum((1, 2)) / there.sum((1, 2)).clamp(min=1))
"""
"""Networks as people of this field would bring them: one takes `presence`, neither knows of this project."""

NETWORKS = {
    "gru": ("my.py:GRU", "network.drop", 1e-5),
    "transformer": ("my.py:Transformer", "network.drop", 1e-5),
    # Its BatchNorms see one rank's clips: other statistics, so other losses.
    "stgcn++": ("stgcn++", "network.dropout", 0.2),
}
"""`--network`, the setting of its dropout, and how far losses on two ranks may be from one's."""


@pytest.fixture(autouse=True)
def nothing_admitted(monkeypatch):
    monkeypatch.setattr(own_code, "_admitted", [])


def words(made, given, run, *settings):
    where = ("--data-root", made, "--run-dir", run, "--network", given, "--modality", "bone")
    return ["train", "ntu60/xsub", *where, *quick("frames=12", "log_every=1", *settings)]


def stop_in_the_midst(monkeypatch):
    """Training gets SIGTERM before its eighth step, the third of its second epoch."""
    rate, left = epoch.learning_rate, iter(range(7, -1, -1))

    def rated(*given):
        if next(left, 1) == 0:
            signal.raise_signal(signal.SIGTERM)
        return rate(*given)

    monkeypatch.setattr(epoch, "learning_rate", rated)


@pytest.mark.parametrize("network", NETWORKS)
def test_from_training_to_the_report(made, here, monkeypatch, network):
    given, drop, near = NETWORKS[network]
    write_network(here, BOTH)
    width = "network.width=8"

    # Trained; and stopped in the midst of an epoch, gone on with to the bit, dropout included.
    dropping = (width, f"{drop}=0.2")
    tsgc(*words(made, given, "whole", *dropping))
    with monkeypatch.context() as patched:
        stop_in_the_midst(patched)
        said = tsgc(*words(made, given, "cut", *dropping), expect=75)
    assert re.search(r"saved after epoch 1 and [1-9] steps", said)
    tsgc(*words(made, given, "cut", *dropping), "--resume")
    for name in ("last", "last-ema"):
        whole, cut = (Path(run, f"checkpoints/{name}.safetensors") for run in ("whole", "cut"))
        assert whole.read_bytes() == cut.read_bytes()

    # Two ranks see one's batches, and lose what one loses.
    still = (width, f"{drop}=0")
    tsgc(*words(made, given, "one", *still))
    in_processes("tsgc", *map(str, words(made, given, "two", *still)), "--gpus", "2", "--device", "cpu")
    one, two = ([line["loss"] for line in lines(here / run / "steps.jsonl")] for run in ("one", "two"))
    assert len(set(one)) == len(one) > 5
    np.testing.assert_allclose(two, one, rtol=0, atol=near)

    # Scored anew to the bit; two runs of it are fused.
    before = read_scores("whole/scores/last.npz")
    again = ("evaluate", "whole", "--data-root", made, "--network", given, "--run-dir", "again")
    tsgc(*again)
    assert np.array_equal(read_scores("again/scores/last.npz").logits, before.logits)
    tsgc("ensemble", "whole", "one", "--out", "fused.npz")
    total = before.logits + read_scores("one/scores/last.npz").logits
    np.testing.assert_allclose(read_scores("fused.npz").logits, total, rtol=1e-5, atol=1e-6)

    # A raw clip is recognised, from Python and by the command.
    Path("clip.skeleton").write_bytes(ntu_clip(frames=20))
    answered = tsgc("predict", "clip.skeleton", "--run", "whole", "--network", given, "--format", "json")
    (answer,) = json.loads(answered)["predictions"]
    (found,) = load_run("whole", network=given, device="cpu").predict("clip.skeleton", explain=True)
    assert answer["top"][0]["name"] == found.top[0].name and np.abs(found.saliency.values).max() > 0
    assert answer["top"][0]["probability"] == pytest.approx(found.top[0].probability)

    # Exported, each file with PyTorch's logits; and shown.
    formats = ("pt2", "onnx") if find_spec("onnx") and find_spec("onnxscript") else ("pt2",)
    options = [word for name in formats for word in ("--format", name)]
    said = tsgc("export", "whole", "--network", given, "--out", "out", "--data-root", made, *options)
    worst = [float(one) for one in re.findall(r"largest difference from PyTorch (\S+)", said)]
    assert len(worst) == len(formats) and max(worst) < 1e-4
    page = ("report", "whole", "--network", given, "--explain", 1, "--out", "r.html", "--data-root", made)
    said = tsgc(*page)
    assert "not their features" not in said and "give --network" not in said
    assert short_name(given) in Path("r.html").read_text()
