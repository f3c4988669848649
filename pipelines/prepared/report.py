"""What preparation did: clips read, dropped and why, bodies dropped by which rule."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from pipelines.errors import TsgcError
from pipelines.files import atomic_path
from pipelines.formats.directions import axis_of, from_hips_to_head
from pipelines.prepared.histogram import spread
from pipelines.spec import Prepared

# Why a clip was dropped.
EXCLUDED = "excluded by the list"
MALFORMED = "malformed"
NO_BODIES = "no bodies"
UNKNOWN = "unknown name"
BAD = (MALFORMED, UNKNOWN)  # what too much of is fatal

JSON_STYLE = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
SHOWN = 3  # examples that a line names
LOOKED_AT = 200  # clips that are asked where the head is
# Older reports do not have them.
LATER = (
    "exclusion", "passed_over", "joint_names", "joints", "unseen", "unseen_clips", "channels", "format",
    "upright", "note",
)  # fmt: skip
WORST = 10  # clips that lost most, kept by name


@dataclass(frozen=True)
class Loss:
    """What the cleaning of one clip took away."""

    clip: str
    lost: int
    """Body-frames of the raw clip that are not in the result."""
    seen: int
    """Body-frames of the raw clip."""
    rules: dict[str, int]
    """Rule -> bodies (or frames) it took."""

    def line(self) -> str:
        """The clip, how much it lost and why."""
        why = "; ".join(f"{rule}: {n:,}" for rule, n in sorted(self.rules.items()))
        return f"{self.clip}: {self.lost:,} of {self.seen:,} body-frames lost ({why or 'overwritten'})"


@dataclass
class Report:
    """Counts of one run of `prepare`, for the console and for the JSON beside the HDF5."""

    dataset: str
    preset: str
    raw: list[str]
    """Folders and zips read."""
    output: str
    official: tuple[int, int] | None
    """Published number of clips: raw, and left once unusable ones are gone; None: nobody published any."""
    unusable: str = ""
    """Where the list of the unusable clips is published."""
    exclusion: str = ""
    """How many names the list of `--exclude` has, and how many fit; empty: no list."""
    passed_over: list[str] = field(default_factory=list)
    """Files and links that look like clips and were not read."""
    found: int = 0
    """Clip names found, those of other data sets included."""
    other: int = 0
    """Clips that belong to another data set, ignored."""
    duplicates: int = 0
    """Further copies of a clip, of the same content."""
    read: int = 0
    kept: int = 0
    dropped: dict[str, dict[str, str]] = field(default_factory=dict)
    """Reason -> clip -> what was found."""
    rules: Counter[str] = field(default_factory=Counter)
    """Cleaning rule -> bodies (or frames) it took."""
    rule_clips: Counter[str] = field(default_factory=Counter)
    """Cleaning rule -> clips it changed."""
    rule_frames: Counter[str] = field(default_factory=Counter)
    """Cleaning rule -> body-frames it dropped (not NTU's reference preset)."""
    seen: int = 0
    """Body-frames in the raw clips that were kept."""
    lost: int = 0
    """Body-frames of these that are not in the result."""
    worst: list[Loss] = field(default_factory=list)
    """The ten clips that lost most body-frames, worst first."""
    note: str = ""
    """What the data set says of its files; empty: nothing."""
    joint_names: tuple[str, ...] = ()
    channels: str = ""
    """What the numbers of a joint are."""
    format: str = ""
    """Format of the raw clips, and their skeleton, where several formats are read."""
    upright: Counter[str] = field(default_factory=Counter)
    """Axis along which the head is above the hips, such as `y` -> clips, of your own first LOOKED_AT."""
    joints: int = 0
    """Joints of all body-frames in the result."""
    unseen: dict[str, int] = field(default_factory=dict)
    """Joint -> body-frames in which it was not seen."""
    unseen_clips: dict[str, int] = field(default_factory=dict)
    """Clip -> joints that were not seen in it, all body-frames together."""
    lengths: Counter[int] = field(default_factory=Counter)
    """Frames -> kept clips of that length."""
    bodies: Counter[int] = field(default_factory=Counter)
    """Bodies -> kept clips with that many."""
    alignment: str = ""
    """What `--align` did; empty: nothing."""
    source_digest: str = ""

    @property
    def total(self) -> int:
        """Clips of this data set, bad ones included."""
        return self.found - self.other

    def drop(self, reason: str, clip: str, what: str = "") -> None:
        self.dropped.setdefault(reason, {})[clip] = what

    def count(self, clip: str, prepared: Prepared) -> None:
        """Adds a kept clip and what its cleaning did."""
        self.kept += 1
        self.rules.update(prepared.rules)
        self.rule_clips.update(prepared.rules.keys())
        self.rule_frames.update(prepared.lost)
        frames, bodies = prepared.present.shape
        self.lengths[frames] += 1
        self.bodies[bodies] += 1
        self._count_unseen(clip, prepared)
        self._count_upright(prepared)
        lost = prepared.seen - int(prepared.present.sum())
        self.seen += prepared.seen
        self.lost += lost
        if lost > 0 and (len(self.worst) < WORST or lost > self.worst[-1].lost):
            self.worst.append(Loss(clip, lost, prepared.seen, dict(prepared.rules)))
            self.worst = sorted(self.worst, key=lambda loss: (-loss.lost, loss.clip))[:WORST]

    def _count_unseen(self, clip: str, prepared: Prepared) -> None:
        self.joints += int(prepared.present.sum()) * prepared.joints.shape[2]
        if prepared.joints_seen is None:
            return
        missing = (prepared.present[..., None] & ~prepared.joints_seen).sum(axis=(0, 1))  # (T, M, V) -> (V,)
        self.unseen_clips[clip] = int(missing.sum())
        for joint, number in zip(self.joint_names, missing.tolist()):
            if number:
                self.unseen[joint] = self.unseen.get(joint, 0) + number

    def _count_upright(self, prepared: Prepared) -> None:
        if self.kept > LOOKED_AT or self.official or not self.channels.startswith("xyz"):
            return
        way = from_hips_to_head(prepared.joints, self.joint_names)
        if way is not None and (axis := axis_of(way)):
            self.upright[axis] += 1

    def bad(self) -> list[str]:
        """What is wrong with each bad clip."""
        return [what for reason in BAD for what in self.dropped.get(reason, {}).values()]

    @property
    def warnings(self) -> list[str]:
        """What the user should look at."""
        lines = []
        if self.bad():
            lines.append(f"{_clips(len(self.bad()))} bad and skipped: {examples(self.bad())}")
        if self.passed_over:
            number = len(self.passed_over)
            what = (
                "1 file or link looks like a clip and was"
                if number == 1
                else (f"{number:,} files or links look like clips and were")
            )
            lines.append(f"{what} not read: {examples(self.passed_over)}")
        axis, number = next(iter(self.upright.most_common(1)), ("y", 0))
        if axis != "y" and 2 * number > sum(self.upright.values()):
            lines.append(
                f"in {number:,} of the first {_clips(sum(self.upright.values()))} the head is above the hips"
                f" along {axis}, expected y: `up: {axis}` in dataset.yaml turns them, if it is not there yet"
            )
        if self.duplicates:
            lines.append(f"{self.duplicates:,} copies of clips found in a second place; each clip read once")
        return lines

    def against_official(self) -> str:
        """One honest line: the clips kept, beside the published number; empty where there is none."""
        if self.official is None:
            return ""
        raw, usable = self.official
        if self.kept == usable:
            return f"{self.kept:,} clips kept, the official number"
        if self.total < raw:
            missing = f"{raw - self.total:,} of its {raw:,} raw files are not here"
            return f"{self.kept:,} clips kept of the official {usable:,}: {missing}"
        difference = self.kept - usable
        more = f"{abs(difference):,} {'more' if difference > 0 else 'fewer'} than the official {usable:,}"
        line = f"{self.kept:,} clips kept, {more}; --exclude takes the official list of unusable clips"
        return f"{line} ({self.unusable})" if self.unusable else line

    def lines(self) -> list[str]:
        """The lines that the console shows."""
        lines = [
            f"{self.output}: {self.dataset}, {self.preset} preset{', aligned' if self.alignment else ''}",
            f"clips: {self.found:,} found, {self.read:,} read, {self.kept:,} kept",
        ]
        lines += [self.note] if self.note else []
        if self.exclusion:
            lines.append(f"exclude: {self.exclusion}")
        if self.format:
            lines.insert(1, f"format: {self.format}")
        if self.other:
            lines.append(f"ignored: {_clips(self.other)} of another data set")
        lines += [
            f"dropped: {_clips(len(clips))}, {reason}" for reason, clips in sorted(self.dropped.items())
        ]
        lines += [f"cleaned: {line}" for line in self.rule_lines()]
        if self.unseen_clips:
            lines.append(f"not seen: {self.unseen_line()}")
        if self.worst:
            lines.append(f"lost: {self.lost:,} of {self.seen:,} body-frames; most in {self.worst[0].line()}")
        lines += [f"frames a clip: {spread(self.lengths)}", f"bodies a clip: {_by_number(self.bodies)}"]
        if self.official:
            lines.append(f"official: {self.against_official()}")
        lines += [f"warning: {line}" for line in self.warnings]
        return [*lines, f"more: tsgc inspect {self.output}"]

    def rule_lines(self) -> list[str]:
        """What each cleaning rule took, from how many clips."""
        return [self._rule_line(rule, number) for rule, number in self._by_rule()]

    def _rule_line(self, rule: str, number: int) -> str:
        frames = f" ({self.rule_frames[rule]:,} body-frames)" if self.rule_frames[rule] else ""
        return f"{rule}: {number:,}{frames}, in {_clips(self.rule_clips[rule])}"

    def unseen_line(self) -> str:
        """Joints that were not seen: how many, which most often, in which clip most."""
        total = sum(self.unseen_clips.values())
        most = sorted(self.unseen.items(), key=lambda joint: -joint[1])[:SHOWN]
        often = ", ".join(f"{joint} {number:,}" for joint, number in most)
        clip = max(self.unseen_clips, key=lambda name: self.unseen_clips[name])
        where = f"in {_clips(len(self.unseen_clips))}, most in {clip} ({self.unseen_clips[clip]:,})"
        return f"{total:,} of {self.joints:,} joints ({often}), {where}"

    def to_json(self, path: Path) -> None:
        """Writes everything, all dropped clips included. Raises TsgcError where it cannot."""
        content = asdict(self) | {
            "rules": dict(self._by_rule()),
            "rule_clips": dict(sorted(self.rule_clips.items())),
            "rule_frames": dict(sorted(self.rule_frames.items())),
            "upright": dict(sorted(self.upright.items())),
            "lengths": dict(sorted(self.lengths.items())),
            "bodies": dict(sorted(self.bodies.items())),
            "dropped": {reason: self.dropped[reason] for reason in sorted(self.dropped)},
            "against_official": self.against_official(),
            "warnings": self.warnings,
        }
        with atomic_path(path) as temporary:
            temporary.write_bytes(orjson.dumps(content, option=JSON_STYLE))

    def _by_rule(self) -> list[tuple[str, int]]:
        return sorted(self.rules.items())


def read_report(path: Path) -> Report:
    """The report that `to_json` wrote. Raises TsgcError: unreadable, or not such a report."""
    try:
        content = orjson.loads(path.read_bytes())
        names = Report.__dataclass_fields__.keys()
        values = {name: content[name] for name in names if name in content or name not in LATER}
        counted = ("rules", "rule_clips", "rule_frames", "upright")
        counters = {name: Counter(values.get(name, {})) for name in counted}
        counters |= {
            name: Counter({int(key): n for key, n in values[name].items()}) for name in ("lengths", "bodies")
        }
        worst = [Loss(**loss) for loss in values["worst"]]
        official = tuple(values["official"]) if values["official"] else None
        joint_names = tuple(values.get("joint_names", ()))
        made = {"worst": worst, "official": official, "joint_names": joint_names}
        return Report(**(values | counters | made))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TsgcError(f"{path}: not a report of `tsgc prepare` ({error}); prepare again") from error


def examples(lines: Iterable[str]) -> str:
    """The first few, and how many more there are."""
    lines = list(lines)
    more = f"; and {len(lines) - SHOWN:,} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more


def _clips(number: int) -> str:
    return f"{number:,} clip" if number == 1 else f"{number:,} clips"


def _by_number(bodies: Mapping[int, int]) -> str:
    return ", ".join(f"{number} in {_clips(clips)}" for number, clips in sorted(bodies.items())) or "none"
