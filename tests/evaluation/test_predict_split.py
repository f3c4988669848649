"""Logits of a split: several networks by one object, whose weights change from call to call."""

import dataclasses

import numpy as np
import pytest
import torch
from made.batches import CPU

from pipelines.errors import TsgcError
from shards.load_manifest import load_manifest
from shards.loader import EvalLoader
from tsgc.config import TrainConfig
from tsgc.distributed.process import Process
from tsgc.evaluation.predict_split import check_finite, predict_split
from tsgc.input.pipeline import input_pipeline
from tsgc.network.build import build_network
from tsgc.step.forward_graphs import ForwardGraphs


def test_each_call_has_the_logits_of_the_weights_as_they_are(made):
    """Some clips lack a body; what is computed of that is kept within a call alone."""
    manifest = load_manifest(made / "shards/ntu60/xsub")
    config = dataclasses.replace(TrainConfig(), frames=16, variant="tiny", precision="float32", eval_batch=8)
    pipeline = input_pipeline(config, manifest)
    loader = EvalLoader(made / "shards/ntu60/xsub", batch=8)
    models = {}
    for seed, name in enumerate(["raw", "ema"]):
        torch.manual_seed(seed)
        models[name] = build_network(
            config, manifest.body, len(manifest.class_names), bodies=2, channels=3
        ).eval()
    forward = ForwardGraphs("float32", CPU, (8,))
    counts = {}

    def count(module, given):
        counts[module] = counts.get(module, 0) + len(given[0])

    for model in models.values():
        model.stem.register_forward_pre_hook(count)
    for _ in range(2):
        with torch.no_grad():
            for model in models.values():
                model.input_norm.bias.normal_()
        counts.clear()
        found, _ = predict_split(models, loader, pipeline, Process(0, 1, CPU), forward=forward)
        computed = list(counts.values())
        for name, model in models.items():
            with torch.inference_mode():
                plain = [model(pipeline.test(batch, CPU)[0]).numpy() for batch in loader]
            np.testing.assert_allclose(found[name], np.concatenate(plain), rtol=1e-4, atol=1e-5)
        assert len(computed) == 2 and computed[0] == computed[1] < 2 * len(loader.labels)


def test_logits_that_are_not_finite_are_refused_by_clip_and_weights():
    logits = np.zeros((3, 4), np.float32)
    check_finite(logits, ["a", "b", "c"], "-ema")
    logits[1, 2], logits[2, 0] = np.nan, -np.inf
    with pytest.raises(TsgcError, match=r"^2 of 3 clips have .* by the weights ema, the first is b; did"):
        check_finite(logits, ["a", "b", "c"], "-ema")
    with pytest.raises(TsgcError, match="not finite, the first is b; did"):
        check_finite(logits, ["a", "b", "c"], "")
