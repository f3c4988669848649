"""Teachers for tests."""

from made.batches import CPU
from tsgc.checkpoint import describe_weights, save_weights
from tsgc.config import TrainConfig
from tsgc.distributed.process import Process
from tsgc.training.run import build_training

RECIPE = {
    "variant": "tiny", "frames": 16, "crop_min_frames": 4, "batch": 12, "mix_group": 12, "repeats": 1,
    "epochs": 2, "warmup_epochs": 1, "last_batch": "spread", "rotation": "vertical", "rotation_max": 60,
    "face_camera": True, "mirror": 0.5, "limbs": 0.1, "noise": 0.01, "drop_joints": 0.5, "drop_axis": 0.5,
    "cutmix_span": 0.5, "cutmix_part": 0.3, "mixup_prob": 1.0,
}  # fmt: skip


def ucla_builder(data, folder):
    """Builds trainings that have not begun, of NW-UCLA's made clips, in `folder`."""

    def make(process=None, **changes):
        config = TrainConfig(**{**RECIPE, **changes})
        process = process or Process(0, 1, CPU)
        return build_training(config, "nw-ucla/xview", data / "shards/nw-ucla/xview", folder, process)

    return make


def save_teacher(run, path):
    """A network as `run` begins it, as if it were trained."""
    said = describe_weights(
        run.config, run.manifest, run.pipeline.bodies, run.benchmark, epoch=2, ema=True, selected_on="none"
    )
    save_weights(path, run.model.state_dict(), said)
    return str(path)
