"""Checks of the exercises: one module per lesson, one ``check_N_M`` per exercise.

A check says one of three things: not attempted (a neutral line, so that Run All never stops), right
(one line), or wrong: it raises `WrongAnswer` with a hint about the property that failed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

Check = Callable[[Callable], None]


class WrongAnswer(AssertionError):
    """The learner's function ran, and a property does not hold."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback: the hint alone."""
        return [str(self)]


def exercise(number: str) -> Callable[[Check], Callable[[Callable], str]]:
    """Turn a function of assertions into the check of exercise `number`.

    Args:
        number: Such as ``"3.2"``, as in the stub's ``NotImplementedError("3.2: ...")``.

    Returns:
        A check that returns ``"right"`` or ``"not attempted"`` and raises `WrongAnswer` with the message of the
        assertion that failed.  An error inside the learner's own code comes through as it is.
    """

    def decorate(check: Check) -> Callable[[Callable], str]:
        @wraps(check)
        def run(answer: Callable) -> str:
            try:
                check(_returning(answer))
            except NotImplementedError as error:  # torch raises it too, with other words
                if not str(error).startswith(f"{number}:"):
                    raise
                verdict = "not attempted"
                print(f"Exercise {number}: not attempted yet.")
            except AssertionError as error:
                raise WrongAnswer(f"Exercise {number}: not yet. Hint: {error}") from None
            else:
                verdict = "right"
                print(f"Exercise {number}: right.")
            return verdict

        return run

    return decorate


def _returning(answer: Callable) -> Callable:
    """The answer, with a hint for the most frequent slip: a function that returns nothing."""

    @wraps(answer)
    def watched(*args: object, **kwargs: object) -> object:
        result = answer(*args, **kwargs)
        assert result is not None, "your function returns nothing; its last line should be `return ...`"
        return result

    return watched
