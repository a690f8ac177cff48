"""Every exercise: the solution is right, the stub stops nothing, and three wrong answers are rejected."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from dmaf_lite.lessons.exercises import WrongAnswer, exercise
from dmaf_lite.lessons.source import BLANK_START, Lesson, Workspace, tags
from dmaf_lite.lessons.stubs import has_exercises, stub

LESSONS = [lesson for lesson in Workspace().lessons() if has_exercises(lesson)]
ANSWERS = Path(__file__).parent / "exercise_answers"


def answer_all(lesson: Lesson, *, solved: bool) -> dict[str, str]:
    """Run the exercise cells with nothing but the lesson's imports: verdict of each check."""
    cells = [cell for cell in lesson.cells if cell.cell_type == "code"]
    imports = [node for cell in cells for node in ast.parse(cell.source).body
               if isinstance(node, (ast.Import, ast.ImportFrom))]
    names: dict = {}
    exec(compile(ast.Module(imports, []), lesson.path.name, "exec"), names)
    verdicts = {}
    for cell in cells:
        if "exercise" not in tags(cell):
            continue
        if BLANK_START in cell.source:
            exec(cell.source if solved else stub(cell.source), names)
        for lesson_part, exercise_part, function in re.findall(r"check_(\d+)_(\d+)\((\w+)\)", cell.source):
            check = getattr(names["exercises"], f"check_{lesson_part}_{exercise_part}")
            verdicts[f"{lesson_part}.{exercise_part}"] = check(names[function])
    return verdicts


def wrong_answers(lesson: Lesson) -> ModuleType:
    path = ANSWERS / f"lesson_{lesson.stem[:2]}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_solutions_are_right_and_stubs_stop_nothing(lesson: Lesson) -> None:
    solved, untouched = answer_all(lesson, solved=True), answer_all(lesson, solved=False)
    assert set(solved.values()) == {"right"} and set(untouched.values()) == {"not attempted"}
    blanks = sum(BLANK_START in cell.source for cell in lesson.cells)
    assert len(solved) == len(untouched) == blanks, "each function to fill has one check"


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_three_wrong_answers_are_rejected(lesson: Lesson) -> None:
    module = importlib.import_module(f"dmaf_lite.lessons.exercises.lesson_{lesson.stem[:2]}")
    wrong = wrong_answers(lesson).WRONG
    assert set(wrong) == set(answer_all(lesson, solved=True))
    for number, functions in wrong.items():
        assert len(functions) >= 3, f"exercise {number} lists {len(functions)} wrong answers; expected three"
        for function in functions:
            with pytest.raises(Exception) as caught:
                getattr(module, f"check_{number.replace('.', '_')}")(function)
            assert str(caught.value), "a wrong answer is met with a hint"


def test_a_check_has_three_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    @exercise("1.2")
    def check(double) -> None:
        assert double(2) == 4, "twice two is four"

    def untouched(x):
        raise NotImplementedError("1.2: double it")

    def of_torch(x):
        raise NotImplementedError("not implemented for 'Long'")

    assert check(lambda x: 2 * x) == "right" and check(untouched) == "not attempted"
    assert capsys.readouterr().out == "Exercise 1.2: right.\nExercise 1.2: not attempted yet.\n"
    with pytest.raises(WrongAnswer, match=r"Exercise 1\.2.*twice two is four") as wrong:
        check(lambda x: x)
    assert wrong.value._render_traceback_() == [str(wrong.value)], "IPython shows the hint, no traceback"
    with pytest.raises(WrongAnswer, match="returns nothing"):
        check(lambda x: None)
    with pytest.raises(NotImplementedError, match="Long"):
        check(of_torch)
