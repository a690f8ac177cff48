"""One worker that computes answers: the newest question first, then what else is wanted; nothing twice."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable

from dmaf_lite.widgets.answers import Answer, Mask

TOGETHER = 3  # subsets that are computed in one pass, each scan encoded once; a new question waits for no more


def in_background() -> bool:
    """Whether to compute beside the page; lessons that are run by papermill wait instead, or they would be saved
    without the answer."""
    return not os.environ.get("DMAF_HEADLESS")


class Desk:
    """Questions in, answers out; what is known is given at once.

    Args:
        predict: The network; where it has `many(masks)`, several answers are computed in one pass.
        known: Answers computed before.
        shown: Called with mask and answer, for the newest question only.
        filled: Called when an answer came that nobody waits for.
        failed: Called with mask and error when there is no answer.
    """

    def __init__(self, predict: Callable[[Mask], Answer], known: dict[Mask, Answer], *,
                 shown: Callable[[Mask, Answer], None], filled: Callable[[Mask], None],
                 failed: Callable[[Mask, Exception], None]) -> None:
        self.predict, self.known = predict, known
        self._shown, self._filled, self._failed = shown, filled, failed
        self._newest: Mask | None = None
        self._waiting: list[Mask] = []
        self._worker: threading.Thread | None = None
        self._lock = threading.RLock()  # held while something is shown: two threads never draw at once

    def ask(self, mask: Mask, *, wait: bool = False) -> bool:
        """Show the answer to `mask` as soon as it is there; False if it has to be computed in the background."""
        with self._lock:
            self._newest = mask
            if mask in self.known:
                self._shown(mask, self.known[mask])
                return True
        if wait:
            self._answer([mask])
            return True
        self._start()
        return False

    def ask_all(self, masks: Iterable[Mask], *, wait: bool = False) -> None:
        """Compute these too, one after another; a question asked meanwhile goes first."""
        with self._lock:
            self._waiting = [mask for mask in masks if mask not in self.known]
        if wait:
            self._work()
        else:
            self._start()

    @property
    def left(self) -> int:
        """How many of `ask_all` are still to be computed."""
        return len(self._waiting)

    def join(self, timeout: float | None = None) -> None:
        """Wait until nothing is left to do."""
        if (worker := self._worker) is not None:
            worker.join(timeout)

    def close(self) -> None:
        """Forget what is still to be computed; the worker ends with the answer it is at."""
        with self._lock:
            self._waiting, self._newest = [], None

    def _start(self) -> None:
        with self._lock:
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, daemon=True, name="answers")
                self._worker.start()

    def _next(self) -> list[Mask]:
        with self._lock:
            self._waiting = [mask for mask in self._waiting if mask not in self.known]
            if self._newest is not None and self._newest not in self.known:
                return [self._newest]
            if self._waiting:
                return self._waiting[: TOGETHER if hasattr(self.predict, "many") else 1]
            self._worker = None  # under the lock: whoever asks now starts another one
            return []

    def _work(self) -> None:
        try:
            while masks := self._next():
                self._answer(masks)
        except BaseException:  # showing an answer went wrong; the next question must still find a worker
            self._worker = None
            raise

    def _answer(self, masks: list[Mask]) -> None:
        try:
            answers = self.predict.many(masks) if len(masks) > 1 else {masks[0]: self.predict(masks[0])}
        except Exception as error:  # a thread's error would be seen by nobody
            with self._lock:  # not tried again by itself, or it would be for ever
                self._waiting = [m for m in self._waiting if m not in masks]
                self._newest = None if self._newest in masks else self._newest
                for mask in masks:
                    self._failed(mask, error)
            return
        with self._lock:
            for mask, answer in answers.items():
                self.known[mask] = answer
                if mask == self._newest:
                    self._shown(mask, answer)
                else:
                    self._filled(mask)
