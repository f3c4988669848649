"""A trained stream: a checkpoint's network, with the pipeline of its input."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipelines.datasets.table import DATASETS
from shards.batch import PackedBatch
from tsgc.checkpoint import Description, dataset_name, load_model
from tsgc.input.pipeline import InputPipeline, interpolates_presence
from tsgc.network.build import Network
from tsgc.network.precision import for_recognition
from tsgc.networks import OURS
from tsgc.step.forward_graphs import ForwardGraphs, powers_of_two

HOST = torch.device("cpu")
LARGEST = 128  # clips of a batch that is captured in a CUDA graph


@dataclass(frozen=True)
class TrainedStream:
    """One trained network with the pipeline of its input."""

    path: Path
    """The checkpoint."""
    model: Network
    pipeline: InputPipeline
    description: Description
    forward: ForwardGraphs

    @torch.inference_mode()
    def logits(self, batch: PackedBatch, device: torch.device) -> np.ndarray:
        """Logits (N, K) of a packed batch."""
        # A clip's input is a hundred small operations: launching them takes longer than doing them here.
        where = HOST if len(batch) == 1 else device
        there = self.pipeline.bodies_there(batch)
        return self.forward(self.model, *self.pipeline.test(batch, where), there).cpu().numpy()


def load_stream(path: Path, device: torch.device) -> TrainedStream:
    """The network of one of our checkpoints on `device`, with the pipeline of its input."""
    model, description = load_model(path)
    pipeline = InputPipeline(
        description.config,
        description.body,
        description.bodies,
        description.absent_body or DATASETS[dataset_name(description)].absent_body,
        present_only=interpolates_presence(description.preset),
        channels=description.axes,
        fps=description.fps or DATASETS[dataset_name(description)].fps,
    )
    config = description.config
    precision = for_recognition(config.precision, device, config.network == OURS)
    forward = ForwardGraphs(precision, device, powers_of_two(LARGEST))
    return TrainedStream(path, model.to(device).eval(), pipeline, description, forward)
