"""How many runs at once: one on a CPU, whose cores they would share; on a GPU as many as its memory takes."""

import torch

MOST = 16  # runs; one host thread launches for all of them, and more would only wait for it
SETTLED = 12  # turns of the first run, after which it has captured its steps and holds the memory of one
MARGIN = 1.3  # over the memory of the first run: another stream's batches and its validation may need more
OWN = 1 << 28  # bytes that libraries take for a stream, beside what torch counts
SPARE = 0.05  # of the device's memory


class Room:
    """The number of runs that may take turns now. `asked`: `--at-once`; None: as many as fit."""

    def __init__(self, device: torch.device, asked: int | None) -> None:
        self.device = device
        self._known = asked or (1 if device.type == "cpu" else None)
        self._before = 0 if self._known else torch.cuda.memory_reserved(device)

    def __call__(self, turns: int) -> int:
        """So many, when `turns` were taken: one at first, until its memory is known."""
        if self._known is None:
            if turns < SETTLED:
                return 1
            held = torch.cuda.memory_reserved(self.device) - self._before
            self._known = fitting(*torch.cuda.mem_get_info(self.device), held)
        return self._known


def fitting(free: int, total: int, held: int) -> int:
    """The number of runs that fit: one that is there and holds `held` bytes, others in the `free` ones."""
    return min(MOST, 1 + max(0, int((free - SPARE * total) / (MARGIN * held + OWN))))
