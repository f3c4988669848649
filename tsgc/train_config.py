"""What a training run is: settings in groups, each with its range beside it, and the rules between them."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.dataclasses import dataclass as checked_dataclass
from pydantic.fields import FieldInfo

from tsgc.networks import OURS, VARIANTS, WITH_VARIANTS, network_title, short_name
from tsgc.setting import (
    AtLeastOne,
    AtLeastZero,
    Epochs,
    ModalityName,
    NetworkName,
    NotNegative,
    Positive,
    SettingError,
    Share,
    UnderOne,
    VariantName,
    setting_error,
)


@dataclass(frozen=True)
class NetworkSettings:
    """The network, and what it sees."""

    network: NetworkName = OURS
    """The network: a key of tsgc.networks.NETWORKS, or code of your own, FILE.py:NAME or package.module:NAME,
    which only `--network` lets run."""
    network_settings: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of a network other than TSGCNeXt; `--set network.width=64` gives one."""
    variant: VariantName = "252"
    """Depths of TSGCNeXt and TSGCNeXt2: a key of tsgc.networks.VARIANTS."""
    modality: ModalityName = "joint"
    """What the stream sees: a key of tsgc.modalities.MODALITIES, or several joined by `+`, side by side."""
    layer_scale: Annotated[float | None, Field(gt=0)] = None
    """Where the learned factors of each block's branch, one a channel, start; null: none, as published."""
    drop_path: UnderOne = 0.4
    """Drop-path rate of the last block of TSGCNeXt and TSGCNeXt2; the rates rise linearly from 0."""


@dataclass(frozen=True)
class ClipSettings:
    """The clips that a run trains on, and how they are put into batches."""

    seed: AtLeastZero = 0
    """Seed of the weights, the order of clips and every augmentation."""
    epochs: AtLeastOne = 300
    """Passes over the training clips (each of `repeats` visits to every clip)."""
    repeats: AtLeastOne = 1
    """Visits to each clip in an epoch."""
    batch: AtLeastOne = 128
    """Clips of one optimiser step, over all devices and accumulation."""
    micro_batch: AtLeastOne = 128
    """Most clips of one forward and backward pass on a device; larger batches are accumulated."""
    last_batch: Literal["drop", "spread"] = "drop"
    """`drop`: clips // batch steps, the rest waits for another epoch's order. `spread`: every clip
    exactly once, in batches whose sizes differ by at most one."""
    shuffle_window: Annotated[int | None, Field(ge=0)] = None
    """Shards that training draws clips from at a time; 0: all of them, so that any clip may follow any;
    null: 0 for shards on this machine, 16 for remote ones (shards.options.REMOTE_WINDOW)."""
    relabel: dict[str, dict[str, int]] = field(default_factory=dict)
    """Training clips that are published with a wrong class: the right class -> name: CRC-32 of their numbers
    (the manifest's), so that another clip of that name is left alone. Test clips keep their classes."""
    holdout: bool = False
    """Leave out the manifest's held-out training clips and choose `best` by them."""


@dataclass(frozen=True)
class SamplingSettings:
    """The frames and bodies of a clip that the network sees."""

    frames: int = 256
    """T: frames that the network sees."""
    bodies: Annotated[int | None, Field(ge=1)] = 2
    """M: bodies that the network sees; null: the most that any clip has."""
    sampling: Literal["crop", "frames"] = "crop"
    """`crop`: a span of the clip, resized linearly to T. `frames`: T of the clip's frames, in order."""
    crop_min: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Smallest part of the clip that a training crop keeps."""
    crop_min_frames: AtLeastZero = 64
    """Fewest frames of a training crop (or all of a shorter clip)."""
    time_jitter: Share = 0.0
    """Training crops: each output frame moves by up to half of this part of a step, either way."""
    speed: NotNegative = 0.0
    """Training crops: deviation of the logarithms of the rates that a crop's quarters are played at."""


@dataclass(frozen=True)
class AugmentationSettings:
    """What happens to a clip's joints, in the order in which it happens."""

    mirror: Share = 0.0
    """Part of the training clips that are mirrored: x negated, left and right joints swapped."""
    align: Literal["none", "facing"] = "none"
    """`facing`: each clip is turned about the vertical until its mean side axis (left to right shoulder and
    hip) lies along x; in training before the random rotation, and in tests. In space only."""
    limbs: UnderOne = 0.0
    """Bones are longer or shorter by up to this part in training, a left one as its right one."""
    rotation: Literal["none", "radians-xyz", "degrees-yx", "vertical"] = "radians-xyz"
    """Random rotation in training: about x, y, z in turn; about y, then x by whole degrees; or `vertical`:
    about y by up to rotation_max degrees, then about x and z by up to rotation_tilt (in space only)."""
    rotation_max: NotNegative = 0.3
    """Largest angle either way, in the unit that `rotation` names."""
    rotation_tilt: NotNegative = 0.0
    """Largest angle about x and z either way, degrees, of `vertical`."""
    face_camera: bool = False
    """Left and right joints trade places in training frames whose random rotation turned the body's back to
    the camera: Kinect takes everybody as facing it."""
    occlusion: NotNegative = 0.0
    """Deviation of the drift, smooth in time, of joints that the rest of the body hides from the camera of a
    training clip (which looks along z) after its random rotation, in the clips' own unit: metres for NTU and
    NW-UCLA, whatever `normalise` does afterwards. In space only."""
    occlusion_radius: Positive = 0.08
    """How near across the picture a joint or the middle of a bone must come to hide a joint, in the clips'
    own unit; 0.625 of it is how much nearer to the camera it must be."""
    centre: Literal["prepared", "middle"] = "prepared"
    """`middle`: the middle of each clip's extents to 0, after the rotation, where normalising does not do it;
    `prepared`: the first frame's joint stays there."""
    normalise: Literal["none", "min-max", "unit", "spine"] = "none"
    """`min-max`: each axis over the clip to [-1, 1], as the field does for NW-UCLA. `unit`: by one scale for
    all axes, the middle of its extents to 0. `spine`: by the mean length from hips to shoulders."""
    scale: UnderOne = 0.0
    """Training clips are larger or smaller by up to this part, after normalising."""
    scale_axes: UnderOne = 0.0
    """The same for each axis by itself, on top."""
    joint_offset: NotNegative = 0.0
    """Deviation of where each joint is taken to be, the same over a training clip, in the input's unit."""
    noise: NotNegative = 0.0
    """Deviation of the noise in every coordinate of every frame of a training clip, in the input's unit."""
    drop_joints: Share = 0.0
    """Part of the training clips in which a fifth of the joints is 0 to the network throughout."""
    drop_axis: Share = 0.0
    """Part of the training clips in which one of the axes x, y, z is 0 to the network throughout."""


@dataclass(frozen=True)
class MixingSettings:
    """Clips mixed with a partner, and their targets."""

    mixup: NotNegative = 0.8
    """Alpha of mixup's Beta distribution; 0: no mixup."""
    mixup_prob: Share = 0.5
    """Part of the mixing groups that are mixed. The published half is that code's empty CutMix boxes."""
    mix_group: AtLeastOne = 32
    """Neighbouring clips of a global batch that share lambda; partners are reversed within it."""
    cutmix_span: Share = 0.0
    """Part of the mixed groups that trade a span of time instead (temporal CutMix); lambda is then the part
    of the frames that a clip keeps."""
    cutmix_part: Share = 0.0
    """Part of the mixed groups that trade a part of the body instead; lambda is then the part of the joints
    that a clip keeps."""
    label_smoothing: UnderOne = 0.1
    """Part of each target that is spread over all classes."""


@dataclass(frozen=True)
class DistillationSettings:
    """What is learned from trained streams."""

    teachers: tuple[str, ...] = ()
    """Trained streams of the same data that this one learns from: .safetensors files, or run folders (their
    last-ema), of any modality and variant."""
    distil: Share = 0.5
    """With teachers: share of the loss that is the divergence from their mean answer, not the labels'."""
    mutual: Share = 0.0
    """Where a network has several heads (TSGCNeXt2): share of the loss that is each head's divergence from
    the mean answer of all, which is not changed by it."""
    distil_temperature: Positive = 2.0
    """Divisor of the logits before the softmax of teachers and student, or of two heads, is compared."""


@dataclass(frozen=True)
class OptimizerSettings:
    """The optimiser, its schedule, and the averaged weights."""

    optimiser: Literal["adamw", "sgd"] = "adamw"
    """`adamw`, as published. `sgd`: with Nesterov's momentum of 0.9; weight_decay is then added to the
    gradient, times the weights, as CTR-GCN and others have it."""
    lr: NotNegative = 4e-3
    """Highest learning rate; it does not follow the batch size."""
    warmup_epochs: AtLeastZero = 20
    """Epochs of linear rise from 0."""
    schedule: Literal["cosine", "steps"] = "cosine"
    """How the rate falls after the warm-up: half a cosine, step by step, as published; or by `lr_steps`. With
    `steps` it changes at epochs only: in the warm-up's first epoch it is lr / warmup_epochs."""
    lr_steps: Epochs = ()
    """Epochs, counted from 0, from each of which the rate is a tenth of what it was before."""
    weight_decay: NotNegative = 0.05
    """The optimiser's decay of tensors of 2 or more dimensions that are not biases."""
    decay_graphs: bool = True
    """Whether weight_decay draws the learned graphs to 0 too, as published."""
    decay_biases: bool = False
    """Whether weight_decay draws biases and other tensors of one dimension to 0 too, as SGD of the field."""
    beta2: UnderOne = 0.999
    """AdamW's decay of the squared gradient's mean."""
    clip_grad: Annotated[float | None, Field(gt=0)] = None
    """Largest norm of the gradient; null: no clipping."""
    ema_decay: UnderOne = 0.9999
    """Decay of the averaged weights."""
    ema_warmup: bool = False
    """Lower decay at first, so that short runs forget their start."""


@dataclass(frozen=True)
class MachineSettings:
    """How the arithmetic is done."""

    precision: Literal["auto", "float32", "tf32", "float16", "bf16"] = "float32"
    """Arithmetic of the network's matrix products; the weights stay float32. `auto`, the default of all but
    the published recipe: the fastest that is safe on the device (tsgc/network/precision.py)."""
    trained_in: Literal["float32", "tf32", "float16", "bf16"] | None = None
    """What `precision` came to where the run started, which writes it: the run goes on in that anywhere.
    Recognition by a run of `auto` takes what is fastest on its own device."""
    compile: bool = False
    """Compile the network with torch.compile."""
    graphs: bool | None = None
    """Capture the training step in CUDA graphs, one for each size of batch; null: on GPUs, but for large
    batches in float32 and TF32, whose steps then leave dropped rows out of their products."""


@dataclass(frozen=True)
class SavingSettings:
    """When a run is evaluated, saved and logged."""

    eval_batch: AtLeastOne = 128
    """Clips of an evaluation batch; part of the plan, not of the number of devices."""
    eval_every: AtLeastZero = 5
    """Epochs between evaluations; 0: at the end only."""
    save_every: AtLeastOne = 1
    """Epochs between checkpoints, which `--resume` goes on from."""
    keep_last: AtLeastOne = 1
    """Newest states kept on disk: state.pt, and beside it state-0012.pt, ... where more than 1."""
    keep_every: AtLeastZero = 0
    """Epochs between weights that stay for good (epoch-0040.safetensors and -ema); 0: none."""
    log_every: AtLeastOne = 20
    """Steps between looks at the loss (each waits for the device)."""


def _listed(value: Any) -> Any:
    """A value as files have it: they know lists, no tuples."""
    return list(value) if isinstance(value, tuple) else value


@checked_dataclass(frozen=True, config=ConfigDict(allow_inf_nan=False, extra="forbid"))
class TrainConfig(  # the fields of a dataclass come base by base from the last one on
    SavingSettings,
    MachineSettings,
    OptimizerSettings,
    DistillationSettings,
    MixingSettings,
    AugmentationSettings,
    SamplingSettings,
    ClipSettings,
    NetworkSettings,
):
    """One run. The defaults are the published recipe (`--recipe reference`).

    However it is made (`TrainConfig(...)`, `dataclasses.replace`), its values are checked: a wrong one, an
    unknown name or a broken rule raises SettingError.
    """

    __pydantic_fields__: ClassVar[dict[str, FieldInfo]]

    def __post_init__(self) -> None:
        """Check the rules between settings."""
        least = VARIANTS[self.variant].min_frames
        enough = f"{least} or more for variant {self.variant}"
        left = f"between 0 and what cutmix_span ({self.cutmix_span}) leaves"
        cropped, turned = self.sampling == "crop", self.rotation == "vertical"
        within = self.warmup_epochs <= self.epochs
        stepped, adamw = self.schedule == "steps", self.optimiser == "adamw"
        rising = all(one < after for one, after in pairwise((*self.lr_steps, self.epochs)))
        trained = self.trained_in in (None, self.precision) or self.precision == "auto"
        ours = self.network == OURS
        self._require(self.frames >= 1, "frames", "variant", "1 or more")
        self._require(not ours or self.frames >= least, "frames", "variant", enough)
        self._require(
            not (ours and self.network_settings), "network_settings", "network", "none for tsgcnext"
        )
        self._require(
            cropped or not self.time_jitter, "time_jitter", "sampling", "between 0 and 1, with sampling=crop"
        )
        self._require(cropped or not self.speed, "speed", "sampling", "0 or more, with sampling=crop")
        self._require(
            turned or not self.rotation_tilt, "rotation_tilt", "rotation", "0, or more with rotation=vertical"
        )
        self._require(
            turned or not self.face_camera, "face_camera", "rotation", "false, or rotation=vertical with it"
        )
        self._require(self.cutmix_part <= 1 - self.cutmix_span, "cutmix_part", "cutmix_span", left)
        self._require(trained, "trained_in", "precision", f"{self.precision}, as precision is, or null")
        self._require(within, "warmup_epochs", "epochs", f"from 0 to epochs ({self.epochs}); --set both")
        self._require(
            stepped or not self.lr_steps, "lr_steps", "schedule", "[], or epochs with schedule=steps"
        )
        self._require(
            rising, "lr_steps", "epochs", f"rising epochs, all under epochs ({self.epochs}); --set both"
        )
        self._require(adamw or self.beta2 == 0.999, "beta2", "optimiser", "0.999, or optimiser=adamw with it")

    def _require(self, holds: bool, name: str, other: str, expected: str) -> None:
        """Refuse the value that setting `name` has beside setting `other`, unless the rule `holds`."""
        if not holds:
            raise SettingError(f"{name} is {_listed(getattr(self, name))}, expected {expected}", name, other)

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_line(cls, values: Any, check: ModelWrapValidatorHandler["TrainConfig"]) -> "TrainConfig":
        try:
            return check(values)
        except ValidationError as error:
            raise setting_error(error, cls.__pydantic_fields__) from None

    @property
    def network_name(self) -> str:
        """The network in folders, scores and tables: the variant of TSGCNeXt, another one's name."""
        name = short_name(self.network)
        if self.network in WITH_VARIANTS:
            return self.variant if self.network == OURS else f"{name}-{self.variant}"
        return name

    @property
    def network_title(self) -> str:
        """The network as pages call it: "TSGCNeXt 252", "CTR-GCN", "my.Net"."""
        title = network_title(self.network)
        return f"{title} {self.variant}" if self.network in WITH_VARIANTS else title

    @property
    def arithmetic(self) -> str:
        """The precision of training steps."""
        return self.trained_in or self.precision

    def saves_after(self, epoch: int) -> bool:
        """Whether a checkpoint is due when `epoch` epochs are over."""
        return epoch % self.save_every == 0 or bool(self.keep_every and epoch % self.keep_every == 0)
