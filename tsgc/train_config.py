"""What a training run is: one frozen dataclass, checked once."""

import math
from dataclasses import dataclass, field
from typing import Literal

from pipelines.errors import TsgcError
from tsgc.modalities import MODALITIES, STACK, mistake
from tsgc.variants import VARIANTS

AT_LEAST_ONE = (
    "epochs",
    "repeats",
    "batch",
    "micro_batch",
    "mix_group",
    "eval_batch",
    "save_every",
    "keep_last",
    "log_every",
)
AT_LEAST_ZERO = (
    "seed", "crop_min_frames", "rotation_max", "rotation_tilt", "joint_offset", "noise", "occlusion", "speed",
    "mixup", "lr", "min_lr", "weight_decay", "eval_every", "keep_every",
)  # fmt: skip
PROBABILITIES = (
    "mirror", "drop_joints", "drop_joints_part", "drop_axis", "mixup_prob", "cutmix_span", "cutmix_part",
    "time_jitter", "distil",
)  # fmt: skip
UNDER_ONE = ("label_smoothing", "drop_path", "ema_decay", "limbs", "scale", "scale_axes", "beta1", "beta2")


@dataclass(frozen=True)
class TrainConfig:
    """One run. The defaults are the published recipe (`--recipe reference`)."""

    variant: str = "252"
    """Depths of the network: a key of tsgc.variants.VARIANTS."""
    modality: str = "joint"
    """What the stream sees: a key of tsgc.modalities.MODALITIES, or several joined by `+`, side by side."""
    seed: int = 0
    """Seeds the weights, the order of clips and every augmentation."""

    epochs: int = 300
    """Passes over the training clips (each of `repeats` visits to every clip)."""
    repeats: int = 1
    """Visits to each clip in an epoch."""
    batch: int = 128
    """Clips of one optimiser step, over all devices and accumulation."""
    micro_batch: int = 128
    """Most clips a device takes at once; more are accumulated."""
    last_batch: Literal["drop", "spread"] = "drop"
    """`drop`: clips // batch steps, the rest waits for another epoch's order. `spread`: every clip
    exactly once, in batches whose sizes differ by at most one."""
    shuffle_window: int | None = None
    """Shards that training draws clips from at a time; 0: all of them, so that any clip may follow any;
    null: 0 for shards on this machine, 16 for remote ones (shards.options.REMOTE_WINDOW)."""

    frames: int = 256
    """T: frames that the network sees."""
    bodies: int | None = 2
    """M: bodies that the network sees; null: the most that any clip has."""
    sampling: Literal["crop", "frames"] = "crop"
    """`crop`: a span of the clip, resized linearly to T. `frames`: T of the clip's frames, in order."""
    crop_min: float = 0.5
    """Smallest part of the clip that a training crop keeps."""
    crop_min_frames: int = 64
    """Fewest frames of a training crop (or all of a shorter clip)."""
    time_jitter: float = 0.0
    """Training crops: each output frame moves by up to half of this part of a step, either way."""
    speed: float = 0.0
    """Training crops: deviation of the logarithms of the rates that a crop's quarters are played at."""

    align: Literal["none", "facing"] = "none"
    """`facing`: each clip is turned about the vertical until its mean side axis (left to right shoulder and
    hip) lies along x; in training before the random rotation, and in tests. In space only."""
    rotation: Literal["none", "radians-xyz", "degrees-yx", "vertical"] = "radians-xyz"
    """Random rotation in training: about x, y, z in turn; about y, then x by whole degrees; or `vertical`:
    about y by up to rotation_max degrees, then about x and z by up to rotation_tilt (in space only)."""
    rotation_max: float = 0.3
    """Largest angle either way, in the unit that `rotation` names."""
    rotation_tilt: float = 0.0
    """Largest angle about x and z either way, degrees, of `vertical`."""
    face_camera: bool = False
    """Left and right joints trade places in training frames whose random rotation turned the body's back to
    the camera: Kinect takes everybody as facing it."""
    centre: Literal["prepared", "middle"] = "prepared"
    """`middle`: the middle of each clip's extents to 0, after the rotation, where normalising does not do it;
    `prepared`: the first frame's joint stays there."""
    normalise: Literal["none", "min-max", "unit", "spine"] = "none"
    """`min-max`: each axis over the clip to [-1, 1], as the field does for NW-UCLA. `unit`: by one scale for
    all axes, the middle of its extents to 0. `spine`: by the mean length from hips to shoulders."""
    mirror: float = 0.0
    """Part of the training clips that are mirrored: x negated, left and right joints swapped."""
    limbs: float = 0.0
    """Bones are longer or shorter by up to this part in training, a left one as its right one."""
    scale: float = 0.0
    """Training clips are larger or smaller by up to this part, after normalising."""
    scale_axes: float = 0.0
    """The same for each axis by itself, on top."""
    joint_offset: float = 0.0
    """Deviation of where each joint is taken to be, the same over a training clip, in the input's unit."""
    noise: float = 0.0
    """Deviation of the noise in every coordinate of every frame of a training clip, in the input's unit."""
    occlusion: float = 0.0
    """Deviation of the drift, smooth in time, of joints that the rest of the body hides from the camera of a
    training clip (which looks along z) after its random rotation, in the clips' own unit: metres for NTU and
    NW-UCLA, whatever `normalise` does afterwards. In space only."""
    occlusion_radius: float = 0.08
    """How near across the picture a joint or the middle of a bone must come to hide a joint, in the clips'
    own unit; 0.625 of it is how much nearer to the camera it must be."""
    drop_joints: float = 0.0
    """Part of the training clips in which some joints are 0 to the network throughout."""
    drop_joints_part: float = 0.2
    """Part of the joints that such a clip loses."""
    drop_axis: float = 0.0
    """Part of the training clips in which one of the axes x, y, z is 0 to the network throughout."""

    mixup: float = 0.8
    """Alpha of mixup's Beta distribution; 0: no mixup."""
    mixup_prob: float = 0.5
    """Part of the mixing groups that are mixed. The published half is that code's empty CutMix boxes."""
    mix_group: int = 32
    """Neighbouring clips of a global batch that share lambda; partners are reversed within it."""
    cutmix_span: float = 0.0
    """Part of the mixed groups that trade a span of time instead (temporal CutMix); a target's share is the
    frames'."""
    cutmix_part: float = 0.0
    """Part of the mixed groups that trade a part of the body instead; a target's share is the joints'."""
    label_smoothing: float = 0.1
    """Part of each target that is spread over all classes."""
    drop_path: float = 0.4
    """Drop-path rate of the last block; the rates rise linearly from 0."""
    layer_scale: float | None = None
    """Where the learned factors of each block's branch, one a channel, start; null: none, as published."""

    teachers: tuple[str, ...] = ()
    """Trained streams of the same data that this one learns from: .safetensors files, or run folders (their
    last-ema), of any modality and variant."""
    distil: float = 0.5
    """With teachers: share of the loss that is the divergence from their mean answer, not the labels'."""
    distil_temperature: float = 2.0
    """What logits are divided by before teachers' and student's answers are compared."""

    lr: float = 4e-3
    """Highest learning rate; it does not follow the batch size."""
    min_lr: float = 1e-6
    """Learning rate that the cosine ends at."""
    warmup_epochs: int = 20
    """Epochs of linear rise from 0."""
    weight_decay: float = 0.05
    """AdamW's decay of tensors of 2 or more dimensions that are not biases."""
    decay_graphs: bool = True
    """Whether weight_decay draws the learned graphs to 0 too, as published."""
    beta1: float = 0.9
    """AdamW's decay of the gradient's mean."""
    beta2: float = 0.999
    """AdamW's decay of the squared gradient's mean."""
    clip_grad: float | None = None
    """Largest norm of the gradient; null: no clipping."""
    ema_decay: float = 0.9999
    """Decay of the averaged weights."""
    ema_warmup: bool = False
    """Lower decay at first, so that short runs forget their start."""

    precision: Literal["float32", "tf32", "bf16"] = "float32"
    """Arithmetic of the network's matrix products; the weights stay float32."""
    compile: bool = False
    """Compile the network with torch.compile."""
    graphs: bool | None = None
    """Capture the training step in CUDA graphs, one for each size of batch; null: on GPUs, but for large
    batches in float32 and TF32, whose steps then leave dropped rows out of their products."""
    eval_batch: int = 128
    """Clips of an evaluation batch; part of the plan, not of the number of devices."""
    eval_every: int = 5
    """Epochs between evaluations; 0: at the end alone."""
    save_every: int = 1
    """Epochs between checkpoints, which `--resume` goes on from."""
    keep_last: int = 1
    """Newest states kept on disk: state.pt, and beside it state-0012.pt, ... where more than 1."""
    keep_every: int = 0
    """Epochs between weights that stay for good (epoch-0040.safetensors and -ema); 0: none."""
    log_every: int = 20
    """Steps between looks at the loss (each waits for the device)."""
    relabel: dict[str, dict[str, int]] = field(default_factory=dict)
    """Training clips that are published with a wrong class: the right class -> name: CRC-32 of their numbers
    (the manifest's), so that no other clip of that name is meant. Tests keep their classes."""
    holdout: bool = False
    """Leave out the manifest's held-out training clips and choose `best` by them."""

    def __post_init__(self) -> None:
        checks: dict[str, tuple[bool, str]] = {}
        for name in AT_LEAST_ONE:
            checks[name] = (getattr(self, name) >= 1, "1 or more")
        for name in AT_LEAST_ZERO:
            checks[name] = (getattr(self, name) >= 0, "0 or more")
        for name in PROBABILITIES:
            checks[name] = (0 <= getattr(self, name) <= 1, "between 0 and 1")
        for name in UNDER_ONE:
            checks[name] = (0 <= getattr(self, name) < 1, "0 or more, under 1")
        checks |= {
            "variant": (self.variant in VARIANTS, f"one of {', '.join(VARIANTS)}"),
            "modality": (
                not mistake(self.modality),
                f"one of {', '.join(MODALITIES)}, or several joined by {STACK}: {mistake(self.modality)}",
            ),
            "bodies": (self.bodies is None or self.bodies >= 1, "1 or more, or null"),
            "distil_temperature": (self.distil_temperature > 0, "over 0"),
            "occlusion_radius": (self.occlusion_radius > 0, "over 0"),
            "crop_min": (0 < self.crop_min <= 1, "over 0, at most 1"),
            "cutmix_part": (
                0 <= self.cutmix_part <= 1 - self.cutmix_span,
                f"between 0 and what cutmix_span ({self.cutmix_span}) leaves",
            ),
            "face_camera": (
                not self.face_camera or self.rotation == "vertical",
                "false, or rotation=vertical with it",
            ),
            "rotation_tilt": (
                self.rotation_tilt >= 0 and (not self.rotation_tilt or self.rotation == "vertical"),
                "0, or more with rotation=vertical",
            ),
        }
        for name in ("time_jitter", "speed"):
            good, expected = checks[name]
            moved = getattr(self, name) and self.sampling != "crop"
            checks[name] = (good and not moved, f"{expected}, with sampling=crop")
        checks |= {
            "shuffle_window": (self.shuffle_window is None or self.shuffle_window >= 0, "0 or more, or null"),
            "layer_scale": (self.layer_scale is None or self.layer_scale > 0, "over 0, or null"),
            "clip_grad": (self.clip_grad is None or self.clip_grad > 0, "over 0, or null"),
            "warmup_epochs": (
                0 <= self.warmup_epochs <= self.epochs,
                f"from 0 to epochs ({self.epochs}); --set both",
            ),
        }
        if self.variant in VARIANTS:
            least = VARIANTS[self.variant].min_frames
            checks["frames"] = (self.frames >= least, f"{least} or more for variant {self.variant}")
        for name, (good, expected) in checks.items():
            value = getattr(self, name)
            if not good or (isinstance(value, float) and not math.isfinite(value)):
                raise TsgcError(f"{name} is {value}, expected {expected}")

    def saves_after(self, epoch: int) -> bool:
        """Whether a checkpoint is due when `epoch` epochs are over."""
        return epoch % self.save_every == 0 or bool(self.keep_every and epoch % self.keep_every == 0)
