"""Test-time augmentation: each view, their mean, and that it is said."""

import dataclasses

import numpy as np
import pytest
import torch
from made.batches import CPU, UCLA, bodies_of, pack, pipeline
from made.command import fails, quick, tsgc

from pipelines.errors import TsgcError
from pipelines.skeleton import SKELETONS
from tsgc.config import TrainConfig
from tsgc.evaluation.scores import read_scores
from tsgc.input.pipeline import InputPipeline
from tsgc.input.tta import VIEWS, View, view_span, views


@pytest.mark.parametrize("sampling", ["crop", "frames"])
def test_a_mirrored_and_a_turned_view_are_those_of_the_changed_clip(sampling):
    clips = bodies_of()
    pipe = pipeline(UCLA, 1, frames=32, sampling=sampling, rotation="none", normalise="unit")
    order = list(range(20))
    for left, right in UCLA.left_right:
        order[left], order[right] = right, left
    mirrored = [clip[:, :, order] * np.float32([-1, 1, 1]) for clip in clips]
    a = np.deg2rad(30)
    matrix = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]], np.float32)
    turned = [clip @ matrix.T for clip in clips]
    for view, changed in ((View(mirrored=True), mirrored), (View(degrees=30.0), turned)):
        (seen, _), (expected, _) = pipe.test(pack(clips), CPU, view), pipe.test(pack(changed), CPU)
        torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampling", ["crop", "frames"])
def test_a_span_sees_its_part_of_the_clip(sampling):
    clips = bodies_of((40, 20, 1))
    pipe = pipeline(UCLA, 1, frames=32, sampling=sampling, rotation="none")
    start, length = view_span(np.array([40, 20, 1]), View(span=(0.5, 1.0)))
    assert start.tolist() == [20, 10, 0] and length.tolist() == [20, 10, 1]
    seen, _ = pipe.test(pack(clips), CPU, View(span=(0.5, 1.0)))
    part = [clip[s : s + n] for clip, s, n in zip(clips, start, length)]
    expected, _ = pipe.test(pack(part), CPU, View(span=(1.0, 0.0)))
    torch.testing.assert_close(seen, expected)


def test_evaluation_averages_the_logits_of_the_views_and_says_so(here, made):
    words = ["ntu60/xsub", "--data-root", made]
    tsgc("train", *words, "--run-dir", here / "run", *quick("epochs=1"))
    plain = read_scores(here / "run/scores/last.npz")
    said = tsgc("evaluate", here / "run", "--data-root", made, "--tta", "mirror")
    assert "last-tta-mirror: test-time augmentation, logits averaged over views: mirror" in said
    both = read_scores(here / "run/scores/last-tta-mirror.npz")
    assert both.source.tta == "mirror" and plain.source.tta == "none"
    assert np.array_equal(read_scores(here / "run/scores/last.npz").logits, plain.logits)
    assert not np.allclose(both.logits, plain.logits)
    fused = tsgc("ensemble", here / "run/scores/last-tta-mirror.npz")
    assert "averaged over views: mirror" in fused
    assert "--tta tilted: expected one of none, mirror" in fails(
        "evaluate", here / "run", "--data-root", made, "--tta", "tilted", code=2
    )


def test_the_mean_is_over_every_view(made):
    from shards.loader import EvalLoader
    from tsgc.distributed.process import Process
    from tsgc.evaluation.predict_split import predict_split
    from tsgc.input.pipeline import input_pipeline

    loader = EvalLoader(made / "shards/ntu60/xsub", batch=8)
    from shards.load_manifest import load_manifest

    config = dataclasses.replace(TrainConfig(), frames=16, variant="tiny")
    pipe = input_pipeline(config, load_manifest(made / "shards/ntu60/xsub"))

    class Sum(torch.nn.Module):
        """Sums over all but x's coordinates: a turn and a mirror change it in known ways."""

        def forward(self, x, presence=None):
            return x.sum((2, 3, 4))

    process, model = Process(0, 1, CPU), Sum().eval()
    one = [
        predict_split({"m": model}, loader, pipe, process, seen_as=[view])[0]["m"] for view in VIEWS["turns"]
    ]
    mean, read = predict_split({"m": model}, loader, pipe, process, seen_as=views("turns"))
    assert read.all()
    np.testing.assert_allclose(mean["m"], np.mean(one, axis=0), rtol=1e-4, atol=1e-3)
    cos = np.cos(np.deg2rad([30, 15, 0, 15, 30])).mean()
    np.testing.assert_allclose(mean["m"][:, 0], one[2][:, 0] * cos, rtol=1e-3, atol=1e-2)


def test_pictures_are_mirrored_and_never_turned():
    clip = np.random.default_rng(0).random((20, 1, 17, 3)).astype(np.float32)
    config = dataclasses.replace(TrainConfig(), frames=16)
    pipe = InputPipeline(config, SKELETONS["coco-17"], 1, "zeros", channels="xys")
    x, _ = pipe.test(pack([clip]), CPU)
    mirrored, _ = pipe.test(pack([clip]), CPU, View(mirrored=True))
    torch.testing.assert_close(mirrored[0, 0, :, 0], -x[0, 0, :, 0])  # the nose has no partner
    torch.testing.assert_close(mirrored[0, 2, :, 5], x[0, 2, :, 6])
    with pytest.raises(TsgcError, match="views that turn need joints in space"):
        pipe.test(pack([clip]), CPU, View(degrees=10.0))
