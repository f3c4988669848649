"""The shard set that tests of loops of one's own read."""

import pytest

from tsgc.data import open_shards


@pytest.fixture(scope="module")
def folder(made):
    return made / "shards/ntu60/xsub"


@pytest.fixture
def shards(folder):
    return open_shards(folder)
