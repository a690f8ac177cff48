"""The one door through which every command leaves: a user's slip is one sentence and a status, never a traceback.

====== ==================================================================================
status what happened
====== ==================================================================================
0      all is done
1      the work is done, but some cases or runs failed; each was named
2      nothing could be done as asked: a sentence says which file, what was found, what to do
130    stopped by Ctrl-C (143: by the system); what was finished is kept
====== ==================================================================================

A fault of the kit itself (a TypeError, a KeyError) keeps its traceback, since somebody has to find it; with
``DMAF_TRACEBACK=1`` every error keeps it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

# What a user's files, settings and machine can cause.  Everything else is a fault of the kit.
USER_ERRORS = (ValueError, OSError, FloatingPointError, RuntimeError, MemoryError)


def leave(name: str, work: Callable[[], int]) -> int:
    """Do the work of a command.

    Args:
        name: Of the command; the message begins with it.
        work: Returns 0, or 1 where a part failed and was reported.

    Returns:
        The exit status, see above.
    """
    try:
        return work()
    except KeyboardInterrupt:
        say(name, "stopped; what was finished is kept, and the same command goes on from there")
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains once more at its end
        return 141
    except USER_ERRORS as error:
        if os.environ.get("DMAF_TRACEBACK") or not is_for_the_user(error):
            raise
        say(name, sentence(error))
        return 2


def is_for_the_user(error: BaseException) -> bool:
    """Whether a sentence says all.  Some faults of a program are kinds of RuntimeError."""
    return not isinstance(error, NotImplementedError | RecursionError)


def sentence(error: BaseException) -> str:
    """What an error says, in words: the file first where the system names one."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        what = error.strerror[0].lower() + error.strerror[1:]
        return f"{os.fsdecode(error.filename)}: {what}; check the name of the file or folder and whether you may use it"
    if isinstance(error, MemoryError) and not str(error):
        return "the memory of this machine is used up; choose a smaller crop, batch or number of workers"
    return str(error).strip() or type(error).__name__


def say(name: str, text: str) -> None:
    """One message on the error stream."""
    print(f"{name}: {text}", file=sys.stderr, flush=True)
