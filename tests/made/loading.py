"""What all ranks are given."""

from shards.batch import Step
from shards.loader import TrainLoader
from shards.manifest import Manifest


def all_ranks(manifest: Manifest, world: int, epoch: int = 0, **options) -> list[list[Step]]:
    """Every rank's steps of an epoch."""
    settings = {"batch": 20, "seed": 5, "last_batch": "spread", "mix_group": 4} | options
    loaders = [TrainLoader(manifest, rank=rank, world=world, **settings) for rank in range(world)]
    return [list(loader.epoch(epoch)) for loader in loaders]


def global_batches(ranks: list[list[Step]]) -> list[dict[int, tuple[int, int]]]:
    """Per step: position -> (clip, partner's position), gathered from all ranks."""
    batches = []
    for steps in zip(*ranks, strict=True):
        found: dict[int, tuple[int, int]] = {}
        for part in (part for step in steps for part in step.parts):
            partners = part.positions[part.partner]
            rows = zip(part.positions.tolist(), part.indices.tolist(), partners.tolist())
            for position, clip, partner in rows:
                assert position not in found
                found[position] = clip, partner
        assert sorted(found) == list(range(steps[0].size))
        batches.append(found)
    return batches
