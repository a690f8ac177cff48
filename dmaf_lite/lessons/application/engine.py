"""The process that computes: torch lives here, and not in the server, which stays quick and outlives it.

The server starts it when it is first needed, and again after it has died or was stopped: what it knows can be made
again from the names of the studies.  Messages are JSON and bytes (`scene.pack`), never pickles.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import signal
import struct
import threading
import traceback
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dmaf_lite.base.door import USER_ERRORS, sentence

STOPPED = "the computing process has ended, perhaps for want of memory; start again"


class EngineStopped(RuntimeError):
    """The process died or was stopped while it was asked."""


class Engine:
    """Questions from many threads, answered by one process.

    Attributes:
        progress: Words and a share of 1 (or None) of what is being done; empty words when nothing is.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        self.weights = None if weights is None else str(weights)
        self.progress: tuple[str, float | None] = ("", None)
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future] = {}
        self._lock = threading.Lock()
        self._process: Any = None
        self._pipe: Connection | None = None

    def start(self) -> None:
        """Start the process if there is none; importing torch takes it some seconds."""
        with self._lock:
            if self._process is not None and self._process.is_alive():
                return
            # A fresh interpreter: forking a server with threads is not safe.
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs, self.weights), daemon=True, name="engine")
            process.start()
            self._process = process  # only what has been started can be stopped
            theirs.close()
            threading.Thread(target=self._listen, args=(self._pipe,), daemon=True, name="engine-ears").start()

    def ask(self, kind: str, **fields: Any) -> bytes:
        """Ask and wait.

        Raises:
            EngineStopped: The process has ended.
            ValueError: What the study or the question is wrong with, in a sentence.
        """
        self.start()
        answer: Future = Future()
        with self._lock:
            number = next(self._numbers)
            self._waiting[number] = answer
            try:
                self._pipe.send_bytes(json.dumps({"id": number, "kind": kind, **fields}).encode())
            except (OSError, ValueError):
                self._waiting.pop(number)
                raise EngineStopped(STOPPED) from None
        return answer.result()

    def stop(self) -> None:
        """End the process, whatever it does: this cancels, and frees all memory at once."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join(10)
        self.progress = ("", None)

    def _listen(self, pipe: Connection) -> None:
        with suppress(EOFError, OSError):
            while True:
                message = pipe.recv_bytes()
                (length,) = struct.unpack_from("<I", message)
                header = json.loads(message[4 : 4 + length])
                if header["kind"] == "progress":
                    self.progress = (header["words"], header["share"])
                    continue
                future = self._waiting.pop(header["id"])
                if header["kind"] == "error":
                    future.set_exception(ValueError(header["words"]))
                else:
                    future.set_result(message[4 + length :])
        if pipe is self._pipe:
            for number in list(self._waiting):
                self._waiting.pop(number).set_exception(EngineStopped(STOPPED))
            self.progress = ("", None)


def work(pipe: Connection, weights: str | None) -> None:
    """What the process does: answer one question after another until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes; the server ends this one
    from dmaf_lite.lessons.application.answering import Answering

    def send(header: dict[str, Any], body: bytes = b"") -> None:
        text = json.dumps(header).encode()
        pipe.send_bytes(struct.pack("<I", len(text)) + text + body)

    answering = Answering(weights, lambda words, share: send({"kind": "progress", "words": words, "share": share}))
    with suppress(*USER_ERRORS):  # bad weights are told when a study is opened
        answering.warm()
    send({"kind": "progress", "words": "", "share": None})
    with suppress(EOFError, OSError):
        while True:
            question = json.loads(pipe.recv_bytes())
            number, kind = question.pop("id"), question.pop("kind")
            try:
                send({"id": number, "kind": "answer"}, getattr(answering, kind)(**question))
            except USER_ERRORS as error:
                send({"id": number, "kind": "error", "words": sentence(error)})
            except Exception as error:  # a fault of the kit: the page says so, the terminal says where
                traceback.print_exc()
                send({"id": number, "kind": "error", "words": f"a fault of the kit, {type(error).__name__}: {error}"})
            send({"kind": "progress", "words": "", "share": None})
