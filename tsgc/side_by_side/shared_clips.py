"""The clips that runs side by side share on their device, where they fit: each is read and checked once."""

from collections.abc import Mapping

import torch

from pipelines.errors import TsgcError
from shards.in_memory import MEMORY_BYTES
from shards.load_manifest import load_manifest
from shards.resident import ResidentClips
from tsgc.training.loop import RunRequest

PART = 0.1  # of a GPU's memory, for clips


def shared_clips(request: RunRequest, device: torch.device) -> Mapping[str, ResidentClips] | None:
    """Split -> its clips on `device`; None: each run reads the shards by itself.

    So it does where they are remote or too large, and where damage is left out, or makes one of the runs fail
    when it is due.
    """
    manifest = load_manifest(request.shards)
    options = request.loader_options
    if manifest.url or (options is not None and options.on_error != "raise"):
        return None
    most: float = MEMORY_BYTES
    if device.type == "cuda":
        most = PART * torch.cuda.get_device_properties(device).total_memory
    if sum(int(clips.lengths.sum()) for clips in manifest.clips.values()) > most:
        return None
    try:
        return {
            split: ResidentClips(manifest, split, device)
            for split, clips in manifest.clips.items()
            if len(clips)
        }
    except TsgcError:
        return None
