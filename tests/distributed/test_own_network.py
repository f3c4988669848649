"""A network of one's own on two ranks: the same batches, one set of weights and statistics."""

import numpy as np
import pytest
from made.own_networks import FAULTY, PLAIN, write_network
from made.ranks import lines, train_words, tsgc, weights

pytestmark = pytest.mark.slow  # each starts ranks

STILL = PLAIN.replace("self.norm = nn.BatchNorm1d(width)", "self.norm = nn.LayerNorm(width)")


def test_without_statistics_and_dropout_two_ranks_lose_what_one_loses(shards, tmp_path):
    own = ("--network", write_network(tmp_path, STILL), "--set", "network.drop=0", "--set", "epochs=2")
    tsgc(*train_words(shards, tmp_path / "one", *own))
    tsgc(*train_words(shards, tmp_path / "two", "--gpus", "2", *own))
    one, two = ([line["loss"] for line in lines(tmp_path / run / "steps.jsonl")] for run in ("one", "two"))
    assert len(set(one)) == len(one) > 5
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-5)


def test_batch_norm_and_dropout_train_on_two_ranks_and_go_on_to_the_bit(shards, tmp_path):
    own = ("--network", write_network(tmp_path), "--gpus", "2", "--set", "keep_last=3")
    run = tmp_path / "run"
    tsgc(*train_words(shards, run, *own))
    whole = (run / "checkpoints/last.safetensors").read_bytes()
    found = weights(run)
    assert found["norm.num_batches_tracked"] == 21 and not np.allclose(found["norm.running_mean"], 0)
    (run / "checkpoints/state-0001.pt").replace(run / "checkpoints/state.pt")
    assert "after epoch 1 of 3" in tsgc(*train_words(shards, run, *own, "--resume"))
    assert (run / "checkpoints/last.safetensors").read_bytes() == whole


def test_a_parameter_without_a_gradient_is_one_line(shards, tmp_path):
    own = write_network(tmp_path, FAULTY).replace(":Net", ":Base")
    said = tsgc(*train_words(shards, tmp_path / "run", "--network", own, "--gpus", "2"), expect=1)
    assert "parameter idle.weight and 1 more gets no gradient" in said and "Traceback" not in said
