"""Looking at validation cases while a run goes on: a curve that shows whether it is flat, and the best weights so far.

The looks lie in ``validation.csv``; a resumed run repeats those after its checkpoint, with the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from dmaf_lite.training.runlog import RunLog, read_log


class Validation:
    """Scores a network every few steps.

    Args:
        folder: Of the run.
        score: Network in evaluation mode -> one number, higher is better.
        every: Steps.
        keep_best: Whether the loop shall keep the weights of the best look (``best.safetensors``).
    """

    def __init__(self, folder: str | Path, score: Callable[[nn.Module], float], *, every: int,
                 keep_best: bool = False) -> None:
        self.path, self.best_path = Path(folder) / "validation.csv", Path(folder) / "best.safetensors"
        self.score, self.every, self.keep_best = score, every, keep_best
        self.best = float("-inf")

    def begin(self, first: int) -> None:
        """Take up the looks at steps up to `first`; later ones will be made again."""
        self.log = RunLog(self.path, first + 1)
        if self.path.exists():
            self.best = max(read_log(self.path)["score"], default=self.best)

    def due(self, done: int, last: int) -> bool:
        """Whether to look after `done` steps of `last`."""
        return done % self.every == 0 or done == last

    def look(self, net: nn.Module, done: int) -> bool:
        """Score the network; gives whether it is the best so far.  The network comes back in training mode."""
        net.eval()
        try:
            value = self.score(net)
        finally:
            net.train()
        self.log.add({"step": done, "score": value})
        better = value > self.best
        self.best = max(self.best, value)
        return better and self.keep_best
