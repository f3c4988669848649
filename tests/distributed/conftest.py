"""The trainings that tests of ranks compare with: made once a run."""

import pytest
from made.once import once
from made.ranks import train_words, tsgc
from made.shard_sets import make_shards


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    return once(tmp_path_factory, "rank-shards", lambda folder: make_shards(folder, clips=101)) / "xsub"


@pytest.fixture(scope="session")
def two_ranks(shards, tmp_path_factory):
    """A training of 21 steps by two ranks of one node that nothing happens to."""

    def train(folder):
        tsgc(*train_words(shards, folder / "run", "--gpus", "2", "--log", "tensorboard"))

    return once(tmp_path_factory, "two-ranks", train) / "run"
