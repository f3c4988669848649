"""The frames of each clip that the network sees: crops, picks, times in a crop; on the host, in NumPy."""

import numpy as np

from tsgc.config import TrainConfig

TEST_CROP_MARGIN = 40  # a test crop leaves out length // 40 frames at each end: 0.95 of the clip
FRAME_COPIES = 100  # copies of each frame that `frames` draws from without replacement (the field's NW-UCLA)
SPEED_SEGMENTS = 4  # parts of a crop that `speed` plays each at its own rate


def train_crop(frames: np.ndarray, uniform: np.ndarray, config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of random crops of clips of `frames` (N,) frames, from `uniform` (N, 2)."""
    part = config.crop_min + (1 - config.crop_min) * uniform[:, 0]
    length = np.minimum(np.maximum(np.floor(part * frames).astype(np.int64), config.crop_min_frames), frames)
    return np.floor(uniform[:, 1] * (frames - length + 1)).astype(np.int64), length


def centre_crop(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of the centre crop of 0.95."""
    margin = frames // TEST_CROP_MARGIN
    return margin, frames - 2 * margin


def ticket_draws(count: int) -> int:
    """Uniform numbers that `random_frames` needs for `count` frames: some in reserve, and a second set."""
    return count + _reserve(count) + count


def _reserve(count: int) -> int:
    return count // 4 + 8


def random_frames(frames: np.ndarray, uniform: np.ndarray, count: int) -> np.ndarray:
    """Sorted frame numbers (N, count) drawn without replacement from 100 copies of each frame.

    Tickets are drawn with replacement, some more than needed, and the first `count` different ones kept;
    every set of tickets is as likely as any other. Where fewer are different (clips of a few frames),
    Floyd's algorithm draws again from the second set of numbers. `uniform` (N, ticket_draws(count)). A clip
    of fewer than `count` tickets (one frame, T over 100) gets more copies.
    """
    copies = np.maximum(FRAME_COPIES, -(-count // frames))
    tickets = frames * copies
    first = count + _reserve(count)
    drawn = np.floor(uniform[:, :first] * tickets[:, None]).astype(np.int64)
    # Sorted by ticket, then by turn: the first of equal tickets is the one drawn first.
    keyed = np.sort(drawn * first + np.arange(first), axis=1)
    ticket, turn = np.divmod(keyed, first)
    new = np.ones(ticket.shape, np.bool_)
    new[:, 1:] = ticket[:, 1:] != ticket[:, :-1]
    in_turn = np.zeros(ticket.shape, np.bool_)
    np.put_along_axis(in_turn, turn, new, axis=1)
    distinct = np.cumsum(in_turn, axis=1)
    enough = distinct[:, -1] >= count
    kept = np.take_along_axis(in_turn & (distinct <= count), turn, axis=1) & enough[:, None]
    picked = np.empty((len(frames), count), np.int64)
    picked[enough] = ticket[kept].reshape(-1, count)
    if not enough.all():
        few = ~enough
        picked[few] = np.sort(_floyd(tickets[few], uniform[few, first:]), axis=1)
    return picked // copies[:, None]


def _floyd(tickets: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Different ones of `tickets` (N,), as many as `uniform` (N, T) has columns, in no fair order."""
    picks = uniform.shape[1]
    drawn = np.empty(uniform.shape, np.int64)
    for pick in range(picks):
        newest = tickets - picks + pick
        ticket = np.floor(uniform[:, pick] * (newest + 1)).astype(np.int64)
        taken = (drawn[:, :pick] == ticket[:, None]).any(1)
        drawn[:, pick] = np.where(taken, newest, ticket)
    return drawn


def even_frames(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` evenly spaced frame numbers of each clip, ends included, truncated: (N, count).

    The numbers of np.linspace for each clip by itself; given all clips at once it rounds differently
    where one of them has a single frame.
    """
    last = frames - 1
    places = np.arange(count) * (last / max(count - 1, 1))[:, None]
    if count > 1:
        places[:, -1] = last
    return places.astype(np.int64)


def crop_positions(
    start: np.ndarray, length: np.ndarray, count: int, times: np.ndarray | None = None
) -> np.ndarray:
    """Positions in the clip of `count` frames when a crop is resized to them, in frames: (N, count) float64.

    Half-pixel centres, clamped to the crop's ends (torch's align_corners=False). `times` (N or 1, count), in
    place of `even_times`: when each is, in steps of a `count`th of the crop.
    """
    times = even_times(count) if times is None else times
    places = times * (length[:, None] / count) - 0.5
    return start[:, None] + np.minimum(np.maximum(places, 0), length[:, None] - 1)


def even_times(count: int) -> np.ndarray:
    """The middle of each of `count` steps, (1, count)."""
    return (np.arange(count) + 0.5)[None]


def play_at_speeds(times: np.ndarray, speeds: np.ndarray) -> np.ndarray:
    """The `times` (N or 1, T) of frames where S equal parts of the output run at rates of their own: (N, T).

    `speeds` (N, S), positive, relative to each other.
    """
    count = times.shape[1]
    clips, segments = speeds.shape
    ends = np.zeros((clips, segments + 1))
    np.cumsum(speeds, axis=1, out=ends[:, 1:])
    ends /= ends[:, -1:]
    scaled = times / count * segments
    segment = np.minimum(scaled.astype(np.int64), segments - 1)
    place = segment + np.arange(0, ends.size, segments + 1)[:, None]
    low, high = ends.take(place), ends.take(place + 1)
    return count * (low + (high - low) * (scaled - segment))
