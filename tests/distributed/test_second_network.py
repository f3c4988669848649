"""TSGCNeXt2 on two ranks: what one loses, drop path's rows and the input's statistics included."""

import numpy as np
import pytest
from made.ranks import lines, train_words, tsgc, weights

pytestmark = pytest.mark.slow  # it starts ranks


def test_two_ranks_lose_what_one_loses_in_every_step(shards, tmp_path):
    given = [
        "network.clip_graphs=[1]",
        "network.clip_attention=[3]",
        "network.dilated_convs=[1]",
        "network.clip_sampling=true",
        "network.meeting=[2,3]",
        "network.gated=true",
        "mutual=0.3",
        "drop_path=0.6",
        "epochs=2",
    ]
    second = ["--network", "tsgcnext2", "--modality", "joint+bone"]
    second += [word for setting in given for word in ("--set", setting)]
    tsgc(*train_words(shards, tmp_path / "one", *second))
    tsgc(*train_words(shards, tmp_path / "two", "--gpus", "2", *second))
    one, two = ([line["loss"] for line in lines(tmp_path / run / "steps.jsonl")] for run in ("one", "two"))
    assert len(set(one)) == len(one) > 5
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-4)
    ours, theirs = (weights(tmp_path / run) for run in ("two", "one"))
    for name in ("running_mean", "running_var"):
        name = f"input_norm.{name}"
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-6)
