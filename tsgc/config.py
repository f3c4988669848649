"""Sources of a training run's configuration: defaults, recipe files, --set, options, run folders."""

import dataclasses
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import TsgcError, UsageError
from pipelines.reading.yaml_text import load_yaml
from shards.options import REMOTE_WINDOW
from tsgc.networks import OURS, recorded_name
from tsgc.setting import SettingError
from tsgc.train_config import TrainConfig

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
CHOSEN_BY_HAND = {"nw-ucla-ctrgcn"}
"""Recipes of other people in CONFIGS, which --config alone chooses, whatever a data set is called."""


def settle_window(config: TrainConfig, remote: bool) -> TrainConfig:
    """The config with `shuffle_window` decided: what the clips' order depends on, a run's config states."""
    if config.shuffle_window is not None:
        return config
    return dataclasses.replace(config, shuffle_window=REMOTE_WINDOW if remote else 0)


def brief(value: object) -> str:
    """A setting's value in a line of text: the beginning of a long one, such as `relabel`."""
    return textwrap.shorten(str(value), 60, placeholder=" ...")


FIELDS = tuple(field.name for field in dataclasses.fields(TrainConfig))

ELSEWHERE = {
    "learning_rate": "lr", "base_lr": "lr", "wd": "weight_decay", "batch_size": "batch",
    "num_epochs": "epochs", "num_epoch": "epochs", "warmup": "warmup_epochs",
    "warm_up_epoch": "warmup_epochs", "smoothing": "label_smoothing", "optimizer": "optimiser",
    "step": "lr_steps",
}  # fmt: skip
"""Names of settings in timm, CTR-GCN and PYSKL -> ours."""

REMOVED = {"min_lr": 1e-6, "beta1": 0.9, "drop_joints_part": 0.2}
"""Settings of earlier versions -> the value that each always has now; files of theirs still name them."""


def named_setting(name: str) -> dataclasses.Field[Any] | None:
    """The setting of that name, in our words or others'; None: there is none."""
    name = ELSEWHERE.get(name, name)
    return next((field for field in dataclasses.fields(TrainConfig) if field.name == name), None)


def build_config(values: Mapping[str, Any], source: str) -> TrainConfig:
    """The config that plain values make; wrong keys and values raise TsgcError, which names `source`."""
    try:
        return _make_config(values)
    except SettingError as error:
        raise TsgcError(f"{source}: {error}") from None


def _make_config(values: Mapping[str, Any]) -> TrainConfig:
    for name, fixed in REMOVED.items():
        if values.get(name, fixed) != fixed:
            raise SettingError(
                f"{name} is {values[name]}, expected {fixed} or none: it is no longer a setting", name
            )
    # YAML has keys of any type.
    return TrainConfig(**{str(key): value for key, value in values.items() if key not in REMOVED})


def recipe_file(benchmark: str) -> Path:
    """The shipped recipe of a benchmark such as `ntu60/xsub`: its own, or its data set's.

    A data set's is that of the longest beginning of its name that has one: `ntu60` for `ntu60-corrected`
    and `NTU60_CS`. Any other data set has `custom`. None has one of CHOSEN_BY_HAND.
    """
    dataset = benchmark.split("/")[0].lower()
    parts = re.split(r"(?=[-_])", dataset)
    names = [benchmark, *("".join(parts[:count]) for count in range(len(parts), 0, -1)), "custom"]
    paths = (CONFIGS / f"{name}.yaml" for name in names if name not in CHOSEN_BY_HAND)
    return next(path for path in paths if path.is_file())


def settings_file(path: Path) -> Path:
    """The file of settings that `path` names; where there is none, the shipped recipe of that name.

    So `configs/nw-ucla-ctrgcn.yaml` and `nw-ucla-ctrgcn` are the same file in any folder.
    """
    shipped = CONFIGS / f"{path.stem}.yaml"
    named = path.parent in (Path(), Path("configs")) and path.suffix in ("", ".yaml")
    return shipped if named and shipped.is_file() and not path.exists() else path


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; anything else raises TsgcError."""
    try:
        values = load_yaml(path.read_text())
    except (FileNotFoundError, IsADirectoryError) as error:
        found = "a folder" if isinstance(error, IsADirectoryError) else "no such file"
        raise TsgcError(f"{path}: {found}; --config takes a YAML file of training settings") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TsgcError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values or {}, dict):
        raise TsgcError(f"{path}: expected key: value lines, found a {type(values).__name__}")
    return values or {}


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """The settings of --set's `key=value` words; values are YAML: numbers, true, null, text."""
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: expected key=value, such as --set epochs=50")
        try:
            value = _number(yaml.safe_load(text))
        except yaml.YAMLError:
            raise UsageError(f"--set {setting}: {text!r} is not a value") from None
        group, dot, name = key.strip().partition(".")
        if dot and group == "network":  # a keyword argument of the network
            values.setdefault("network_settings", {})[name] = value
        else:
            values[key.strip()] = value
    return values


def _number(value: Any) -> Any:
    """The number that 1e-3 means, which YAML 1.1 reads as text (it wants 1.0e-3); '252' stays text."""
    if not isinstance(value, str) or value.isdecimal():
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _option(key: str) -> str:
    """The option of a command line that gives a setting."""
    return "--teacher" if key == "teachers" else f"--{key}"


def _refuse_two_values(said: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Raise UsageError where --set and an option give one setting two values."""
    for key in said.keys() & options.keys() - {"network_settings"}:  # these are put together
        told, given = (_as_text(key, value) for value in (said[key], options[key]))
        if told != given:
            option = _option(key)
            raise UsageError(f"{option} {given} and --set {key}={told}: two values; give {option} alone")


def _as_text(key: str, value: Any) -> str:
    if key == "network":
        return recorded_name(str(value))
    several = value if isinstance(value, list | tuple) else [value]
    return ",".join(str(one).lower() if isinstance(one, bool) else str(one) for one in several)


def _shorter_warmup(given: Mapping[str, Any], planned: TrainConfig) -> dict[str, int]:
    """The warm-up where `given` settings make a run shorter than planned: a quarter of its epochs at most.

    Empty where it stays as it is, and where `given` has a warm-up, or no number of epochs.
    """
    epochs = given.get("epochs")
    if "warmup_epochs" in given or not isinstance(epochs, int | float):
        return {}
    if epochs % 1 or epochs >= planned.epochs:  # checked later where it is no whole number
        return {}
    most = max(1, int(epochs) // 4) if epochs > 1 else 0
    return {"warmup_epochs": most} if planned.warmup_epochs > most else {}


def resolve_config(
    benchmark: str,
    *,
    recipe: str | None = None,
    config: Path | None = None,
    settings: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    started: Path | None = None,
    note: Callable[[str], None] = lambda said: None,
) -> TrainConfig:
    """The run's config: defaults, then the recipe's file, then --set, then the command's options.

    The defaults are the published recipe's, but for `precision`: auto, unless the recipe is "reference".
    `recipe` "reference" keeps the published defaults; `config` (`settings_file`) replaces the benchmark's own
    file, and so does `started`, the config.yaml of a run that is gone on with, but for its teachers: they may
    have moved.
    Where `epochs` is less than before and `warmup_epochs` is not given beside it, the warm-up is a quarter
    at most, and `note` is told. Raises TsgcError for wrong settings, UsageError where --set and an option
    give two values of one.
    """
    published = planned = TrainConfig()
    values: dict[str, Any] = {} if recipe == "reference" else {"precision": "auto"}
    base = "the published recipe"
    longer: tuple[str, TrainConfig] | None = None  # where the warm-up was longer
    given_file = settings_file(config) if config else None
    path = started or given_file or (None if recipe == "reference" else recipe_file(benchmark))
    if path is not None:
        values |= {key: _number(value) for key, value in read_yaml(path).items()}
        if started:
            values.pop("teachers", None)
        else:
            values.pop("trained_in", None)  # of another run, and perhaps another machine
        if shorter := _shorter_warmup(values, published):
            longer = base, published
        planned = build_config(values | shorter, str(path))
        values, base = dataclasses.asdict(planned), str(path)
    elif recipe == "reference" and benchmark.startswith("nw-ucla"):
        values["bodies"] = 1  # the data set has one body; the published recipe names no number
    said = parse_settings(settings)
    words = dict.fromkeys(said, "--set")  # key -> the word of the command line that gave it
    options = {key: value for key, value in (options or {}).items() if value is not None}
    words |= {key: _option(key) for key in options}
    _refuse_two_values(said, options)
    given = said | options
    if "network_settings" in said:  # on top of the file's, which are another network's where that is given
        kept = {} if given.get("network", values.get("network")) != values.get("network") else values
        given["network_settings"] = {**(kept.get("network_settings") or {}), **said["network_settings"]}
    elif "network" in given and given["network"] != values.get("network", OURS):
        given["network_settings"] = {}
    shorter = _shorter_warmup(given, planned)
    if shorter and started and given["epochs"] >= planned.warmup_epochs:
        shorter = {}  # it still fits, and is over by now, or nearly
    if shorter:
        longer = base, planned
    try:
        if "precision" in given:
            values["trained_in"] = None
        settled = _make_config(values | given | shorter)
    except SettingError as error:  # of --set or an option: the file by itself is right
        blamed = [word for key, word in words.items() if key in error.settings]
        raise UsageError(f"{' with '.join(dict.fromkeys([base, *blamed]))}: {error}") from None
    if longer and "warmup_epochs" not in words:
        note(_warmup_said(settled, *longer))
    return settled


def _warmup_said(settled: TrainConfig, where: str, planned: TrainConfig) -> str:
    return (
        f"warm-up: {settled.warmup_epochs} of {settled.epochs} epochs, a quarter at most"
        f" ({where}: {planned.warmup_epochs} of {planned.epochs}); --set warmup_epochs=N for another"
    )


def to_yaml(config: TrainConfig) -> str:
    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False)


def read_run_config(path: Path) -> TrainConfig:
    """The config that a run folder's config.yaml holds."""
    return build_config(read_yaml(path), str(path))
