"""The lesson runner, on tiny lessons in a temporary workspace; and the real lessons against its rules."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import nbformat
import pytest

from dmaf_lite.lessons import check as rules
from dmaf_lite.lessons import cli
from dmaf_lite.lessons.execute import (
    artifact_root,
    lesson_hash,
    normalise,
    output_path,
    run_lessons,
    write_notebook,
)
from dmaf_lite.lessons.profiles import ParameterError, declared, read_profile
from dmaf_lite.lessons.publish import committed, exercise_path, lesson_table, publish, refresh, with_table
from dmaf_lite.lessons.source import Lesson, Workspace, build_notebook
from dmaf_lite.lessons.stubs import derive, stub

REAL = Workspace()

SOURCE = '''# %% [markdown]
# # 07 · Add two numbers
#
# One sentence.
#
# **Question** what is the sum?
#
# **Do** add.
#
# **Learn**
# - to add
#
# **Need** nothing.
#
# Not here: subtraction.
#
# **Before you run**: more than 1?
#
# <details><summary>Answer</summary>No.</details>
#
# **Before you run**: and more than 0?
#
# <details><summary>Answer</summary>Yes.</details>

# %% tags=["parameters"]
profile: str = "cpu-small"  # set by the runner
seed: int = 0  # one seed
rate: float = 0.5  # a number

# %% tags=["setup"]
import os
import sys
from pathlib import Path

from dmaf_lite.lessons.artifacts import load_or_make
from dmaf_lite.lessons.parameters import check_parameters

check_parameters(globals())


def write(folder, config):
    (folder / "a.txt").write_text(str(config["rate"]))


# %%
folder = load_or_make("sum", write, {"rate": rate})
Path(os.environ["SEEN"]).write_text("\\n".join([sys.executable, os.environ["DMAF_HEADLESS"], profile, str(rate)]))

# %% tags=["check"]
assert float((folder / "a.txt").read_text()) == rate

# %% tags=["check"]
assert 1 + 1 == 2

# %% tags=["check"]
assert seed == 0

# %% [markdown]
# ## The answer

# %% tags=["hide-input"]
print(f"the rate is {rate}")

# %% [markdown]
# ## In practice
# ## What we built
# ## Five questions
#
# 1. The first? <details><summary>Answer</summary>1</details>
# 2. The second? <details><summary>Answer</summary>2</details>
# 3. The third? <details><summary>Answer</summary>3</details>
# 4. The fourth? <details><summary>Answer</summary>4</details>
# 5. The fifth? <details><summary>Answer</summary>5</details>

# %% tags=["check", "hide-input"]
assert rate == 0.5
assert rate < 1
assert rate > 0
assert seed < 1
assert seed > -1

# %% [markdown]
# ## Exercises
#
# Expect: 1 and 2 give 3.

# %% tags=["exercise"]
def add(a, b):
    """The sum."""
    # >>> your turn: 7.1 add
    return a + b
    # <<<

# %% [markdown]
# ## Next
'''


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    place = Workspace(tmp_path / "checkout")
    place.sources.mkdir(parents=True)
    place.profiles.mkdir()
    (place.sources / "07_add_two_numbers.py").write_text(SOURCE, encoding="utf-8")
    return place


def lesson_of(workspace: Workspace, source: str | None = None) -> Lesson:
    """The only lesson, with another text if one is given."""
    if source is not None:
        (workspace.sources / "07_add_two_numbers.py").write_text(source, encoding="utf-8")
    return workspace.lessons()[0]


def write_profile(workspace: Workspace, text: str) -> None:
    (workspace.profiles / "p.yaml").write_text(text)


# ---- source


def test_the_same_source_gives_the_same_notebook(workspace: Workspace) -> None:
    first, second = (nbformat.writes(build_notebook(x, [x])) for x in (lesson_of(workspace), lesson_of(workspace)))
    assert first == second
    notebook = nbformat.reads(first, 4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert "jupytext" not in notebook.metadata


def test_navigation_leads_to_the_neighbours(workspace: Workspace) -> None:
    (workspace.sources / "08_next_one.py").write_text("# %% [markdown]\n# # 08 · Next one\n")
    first, second = workspace.lessons()
    assert "(08_next_one.ipynb)" in build_notebook(first, [first, second]).cells[-1].source
    assert "(07_add_two_numbers.ipynb)" in build_notebook(second, [first, second]).cells[-1].source


def test_an_unknown_lesson_is_an_error(workspace: Workspace) -> None:
    assert [x.stem for x in workspace.select(["07"])] == ["07_add_two_numbers"]
    with pytest.raises(ValueError, match="no lesson begins with '9'"):
        workspace.select(["9"])


# ---- parameters


def test_parameters_are_read(workspace: Workspace) -> None:
    assert declared(lesson_of(workspace)) == {"profile": "cpu-small", "seed": 0, "rate": 0.5}


@pytest.mark.parametrize(("old", "new"), [
    ("rate: float = 0.5", "rate = 0.5"),
    ("rate: float = 0.5", "rate: float = 1 / 2 + seed"),
    ("rate: float = 0.5", "rate: float | None = 0.5"),
    ("rate: float = 0.5", "rate: int = 0.5"),
    ("seed: int = 0", "sed: int = 0"),
    ('tags=["parameters"]', 'tags=["other"]'),
])
def test_a_bad_parameters_cell_is_an_error(workspace: Workspace, old: str, new: str) -> None:
    with pytest.raises(ParameterError):
        declared(lesson_of(workspace, SOURCE.replace(old, new)))


@pytest.mark.parametrize(("text", "message"), [
    ("lessons: {07_add_two_numbers: {rat: 0.1}}", "no parameter 'rat'"),
    ("lessons: {07_add_two_numbers: {rate: fast}}", "expected float"),
    ("lessons: {07_add_two_numbers: {seed: true}}", "expected int"),
    ("lessons: {07_add_two_numbers: {profile: x}}", "no parameter 'profile'"),
    ("common: {epochs: 1}", "no parameter 'epochs'"),
    ("lessons: {09_other: {seed: 1}}", "09_other"),
    ("lesson: {}", "not known"),
])
def test_a_profile_that_does_not_fit_stops_the_run(workspace: Workspace, text: str, message: str) -> None:
    write_profile(workspace, text)
    with pytest.raises(ParameterError, match=message):
        list(run_lessons(workspace, workspace.lessons(), "p"))
    assert not workspace.build.exists()


def test_a_profile_overrides_common_values_by_the_lessons(workspace: Workspace) -> None:
    write_profile(workspace, "note: x\ncommon: {seed: 1, rate: 2}\nlessons: {07_add_two_numbers: {rate: 3}}")
    assert read_profile(workspace, "p") == {"07_add_two_numbers": {"profile": "p", "seed": 1, "rate": 3.0}}
    with pytest.raises(ParameterError, match="choose one of"):
        read_profile(workspace, "q")


# ---- running


def test_a_run_is_executed_stamped_published_and_skipped_when_current(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A user's own kernel of the same name must not be taken.
    wrong = tmp_path / "data" / "kernels" / "python3"
    wrong.mkdir(parents=True)
    (wrong / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("DMAF_ARTIFACTS", raising=False)
    monkeypatch.setenv("SEEN", str(tmp_path / "seen.txt"))
    lesson = lesson_of(workspace)

    assert [x.state for x in run_lessons(workspace, [lesson])] == ["ran"]
    assert (tmp_path / "seen.txt").read_text().split("\n") == [sys.executable, "1", "cpu-small", "0.5"]
    stamp = nbformat.read(output_path(workspace, lesson, "cpu-small"), 4).metadata.dmaf
    assert stamp.profile == "cpu-small" and stamp.hash == lesson_hash(lesson, {}) and "torch" in stamp.versions
    assert list(stamp.artifacts) == ["sum"]

    publish(workspace, lesson)
    refresh(workspace)
    assert rules.check(workspace, lesson) == []
    assert rules.check_names(workspace) == []
    assert "| < 1 |" in lesson_table(workspace, [lesson])

    assert [x.state for x in run_lessons(workspace, [lesson])] == ["current"]
    root = artifact_root(workspace, "cpu-small")
    (root / "sum" / "manifest.json").unlink()
    changed = lesson_of(workspace, SOURCE.replace("assert seed == 0", "assert seed == 1"))
    (outcome,) = run_lessons(workspace, [changed])
    assert outcome.state == "failed" and "AssertionError" in outcome.error
    assert output_path(workspace, changed, "cpu-small").with_suffix(".failed.ipynb").exists()
    assert any("not those of its source" in problem for problem in rules.check(workspace, changed))


def test_in_reverse_the_last_lesson_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[list[str]] = []
    monkeypatch.setattr(cli, "run_lessons", lambda workspace, lessons, *_, **__:
                        iter(orders.append([lesson.stem for lesson in lessons]) or ()))
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    for words in (["run"], ["run", "--reverse"]):
        cli.main(parser.parse_args(words))
    assert orders[0] == sorted(orders[0]) and orders[1] == orders[0][::-1] and len(orders[0]) > 10


@pytest.mark.parametrize("state", ["current", "failed"])
def test_reproducing_ends_in_table_and_book_unless_a_lesson_failed(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    done: list[tuple] = []
    monkeypatch.setattr(cli, "run_lessons", lambda workspace, lessons, *_, **__:
                        [cli.Outcome(lesson, state, 0.0) for lesson in lessons[:2]])
    monkeypatch.setattr(cli, "_table", lambda workspace, profile: done.append(("table", profile)) or 0)
    monkeypatch.setattr(cli, "_book", lambda workspace, profile, *, force: done.append(("book", profile)) or 0)
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    assert cli.main(parser.parse_args(["reproduce", "--profile", "ci-smoke"])) == (state == "failed")
    assert done == ([("table", "ci-smoke"), ("book", "ci-smoke")] if state == "current" else [])


@pytest.mark.parametrize(("tag", "state"), [("check", "failed"), ("skip-execution", "ran")])
def test_a_cell_that_a_run_has_swallowed_fails_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tag: str, state: str
) -> None:
    # Some widget libraries take over how a kernel runs cells; papermill then ends well and half is not run.
    import papermill

    def half_a_run(notebook, out, *args, **kwargs) -> None:
        for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
            cell.execution_count = None if cell.source == "1 / 0" else count
        nbformat.write(notebook, out)

    monkeypatch.setattr(papermill, "execute_notebook", half_a_run)
    lesson = lesson_of(workspace, SOURCE + f'\n# %% tags=["{tag}"]\n1 / 0\n\n# %%\n')
    (outcome,) = run_lessons(workspace, [lesson])
    assert outcome.state == state
    assert ("never executed" in outcome.error) == (state == "failed")


def test_normalising_drops_what_changes_for_no_reason() -> None:
    cell = nbformat.v4.new_code_cell("x", metadata={"tags": ["injected-parameters"], "papermill": {}})
    cell.outputs = [nbformat.v4.new_output("stream", text="a\n"), nbformat.v4.new_output("stream", text="b\n"),
                    nbformat.v4.new_output("stream", text="run: made in 8 s (again: its code (x) has changed)\n"),
                    nbformat.v4.new_output("display_data", {"text/plain": "train:   0%|          | 0/36 [00:00<?]",
                                                            "application/vnd.jupyter.widget-view+json": {}}),
                    nbformat.v4.new_output("display_data", {"text/plain": "<f at 0x7f01>",
                                                            "application/vnd.jupyter.widget-view+json": {}})]
    done = normalise(nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {}, "papermill": {}}))
    assert set(done.metadata) == {"kernelspec", "language_info"}
    assert done.cells[0].metadata == {"tags": ["injected-parameters", "remove-cell"]}
    stream, shown = done.cells[0].outputs
    assert stream.text == "a\nb\nrun: made in 8 s\n" and shown.data == {"text/plain": "<f>"}


# ---- rules


def fake_run(workspace: Workspace, lesson: Lesson) -> nbformat.NotebookNode:
    """A published notebook as a run would leave it, without running."""
    notebook = build_notebook(lesson, [lesson])
    for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
        cell.execution_count = count
    rules.answer_cell(notebook.cells).outputs = [output("stream", text="the rate is 0.5\n")]
    stamp = {"profile": "cpu-small", "hash": lesson_hash(lesson, {}), "seconds": 61, "artifacts": {}}
    notebook.metadata["dmaf"] = stamp
    return notebook


def problems_after(workspace: Workspace, break_it) -> str:
    lesson = lesson_of(workspace)
    notebook = fake_run(workspace, lesson)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    break_it(notebook, code)
    write_notebook(committed(workspace, lesson), notebook)
    write_notebook(exercise_path(workspace, lesson), derive(lesson))
    return "\n".join(rules.check(workspace, lesson))


def output(kind: str, **values) -> nbformat.NotebookNode:
    return nbformat.v4.new_output(kind, **values)


def test_a_faultless_notebook_has_no_problems(workspace: Workspace) -> None:
    assert problems_after(workspace, lambda notebook, code: None) == ""
    assert lesson_table(workspace, workspace.lessons()).endswith("| add. | 5 | 2 |")


@pytest.mark.parametrize(("break_it", "message"), [
    (lambda n, c: n.metadata.dmaf.update(hash="0"), "not made by this source"),
    (lambda n, c: n.metadata.dmaf.update(profile="ci-smoke"), "not made by this source"),
    (lambda n, c: c[2].update(source="1"), "not those of its source"),
    (lambda n, c: c[2].update(execution_count=9), "from top to bottom"),
    (lambda n, c: c[2].outputs.append(output("stream", name="stderr", text="careful")), "warning: careful"),
    (lambda n, c: c[2].outputs.append(output("error", ename="E", evalue="", traceback=[])), "is an error"),
    (lambda n, c: c[2].outputs.append(output("stream", text="see " + "/ho" + "me/ann/x")), "path of a machine"),
    (lambda n, c: c[2].outputs.append(output("stream", text="ann@example.org")), "e-mail"),
    (lambda n, c: c[2].outputs.append(output("display_data", data={"image/png": "eA=="})), "without alt text"),
    (lambda n, c: c[2].outputs.append(output("stream", text="x" * 600_000)), "at most 500"),
    (lambda n, c: c[2].outputs.append(output("stream", text="short\n" + "x" * 111)), "a line of 111 letters"),
    (lambda n, c: c[2].outputs.append(output("stream", text="it is 0.9999999403953552")), "not rounded: 0.99999994"),
    (lambda n, c: n.metadata.update(widgets={}), "widgets"),
    (lambda n, c: rules.answer_cell(n.cells).update(outputs=[]), "shows no number"),
])
def test_each_fault_of_a_published_notebook_is_found(workspace: Workspace, break_it, message: str) -> None:
    assert message in problems_after(workspace, break_it)


@pytest.mark.parametrize(("old", "new", "message"), [
    ("07 · Add two numbers", "07 · Add", "expected the words of the file name"),
    ("**Need**", "Need", "no line **Need**"),
    ("Not here: subtraction", "Subtraction", "does not say what is not here"),
    ("Expect: 1", "As 1", "does not say what to expect"),
    ("**Question** what", "**A question** what", "no line **Question**"),
    ("**Need** nothing.", "**Need** 2 minutes.", "how many minutes"),
    ("## The answer", "## An answer", "'## The answer'"),
    ('print(f"the rate is {rate}")', "rate", "which prints its number"),
    ("**Before you run**: more", "Is it more", "1 times, with 1 folded answers"),
    ("<details><summary>Answer</summary>Yes.</details>", "Yes.", "2 times, with 1 folded answers"),
    ("<details><summary>Answer</summary>Yes.</details>", "<details><summary>Answer</summary> ", "1 folded answers"),
    ("# 5. The fifth? <details><summary>Answer</summary>5</details>", "#", "4 questions and 4 folded"),
    ("3. The third? <details><summary>Answer</summary>3</details>", "3. The third?", "5 questions and 4 folded"),
    ("assert rate > 0", "rate > 0", "a check of 4 assertions"),
    ("## In practice", "## Practice", "'## In practice'"),
    ("## Exercises", "## Tasks", "'## Exercises'"),
    ("assert 1 + 1 == 2", "1 + 1 == 2", "asserts nothing"),
    ('# %% tags=["check"]\n', "# %%\n", "1 cells tagged check"),
    ("assert 1 + 1 == 2", "assert 1 + 1 == 2\n" * 31, "longest is 31"),
    ("# One sentence.", "# [dead](nowhere.md)", "leads nowhere"),
    ("# One sentence.", "# ![](../src)", "no alt text"),
    ("# One sentence.", "# See `docs/glossary.md`.", "named, not linked"),
    ("import os", "import os\nimport itkwidgets", "notebooks/optional"),
])
def test_each_fault_of_a_source_is_found(workspace: Workspace, old: str, new: str, message: str) -> None:
    assert rules.check_source(workspace, lesson_of(workspace)) == []
    broken = lesson_of(workspace, SOURCE.replace(old, new))
    assert message in "\n".join(rules.check_source(workspace, broken))


def test_files_without_a_source_are_found(workspace: Workspace) -> None:
    (workspace.notebooks / "99_old.ipynb").write_text("{}")
    assert rules.check_names(workspace) == ["notebooks/99_old.ipynb has no source in notebooks/src"]


# ---- exercises


def test_a_stub_keeps_everything_but_the_idea() -> None:
    solved = 'def f(x):\n    """Doc."""\n    # >>> your turn: 3.2 double it\n    return 2 * x\n    # <<<\n'
    assert stub(solved) == ('def f(x):\n    """Doc."""\n    # your turn: double it\n'
                            '    raise NotImplementedError("3.2: double it")')


@pytest.mark.parametrize("bad", ["# >>> your turn: double\n# <<<", "# >>> your turn: 3.2 x", "# <<<"])
def test_bad_markers_are_an_error(bad: str) -> None:
    with pytest.raises(ValueError, match=r"# <<<|# >>>"):
        stub(bad)


def test_exercises_keep_the_picture_of_what_is_expected(workspace: Workspace) -> None:
    source = SOURCE.replace("# %% [markdown]\n# ## Next", '# %% tags=["expected"]\n1\n\n# %% [markdown]\n# ## Next')
    lesson = lesson_of(workspace, source)
    notebook = fake_run(workspace, lesson)
    cell = next(cell for cell in notebook.cells if "expected" in cell.metadata.get("tags", []))
    cell.outputs = [output("display_data", data={"image/png": "eA=="}, metadata={"image/png": {"alt": "a dot"}})]
    write_notebook(committed(workspace, lesson), notebook)
    derived = derive(lesson, committed(workspace, lesson))
    assert derived.cells[-1].attachments == {"expected.png": {"image/png": "eA=="}}
    assert "![a dot](attachment:expected.png)" in derived.cells[-1].source
    assert all(not cell.get("outputs") for cell in derived.cells)


# ---- table


def test_the_table_is_written_between_its_markers() -> None:
    from dmaf_lite.lessons.publish import TABLE_END, TABLE_START

    readme = f"a\n{TABLE_START}\nold\n{TABLE_END}\nb"
    assert with_table(readme, "new") == f"a\n{TABLE_START}\nnew\n{TABLE_END}\nb"
    with pytest.raises(ValueError, match="no place for the table"):
        with_table("a", "new")


# ---- the real lessons


def test_every_profile_fits_the_lessons() -> None:
    assert {path.stem for path in REAL.profiles.glob("*.yaml")} == {"ci-smoke", "cpu-hour", "gpu-full", "brats2020"}
    for path in REAL.profiles.glob("*.yaml"):
        read_profile(REAL, path.stem)


@pytest.mark.parametrize("lesson", REAL.lessons(), ids=lambda lesson: lesson.stem)
def test_the_lessons_keep_the_rules(lesson: Lesson) -> None:
    assert rules.check(REAL, lesson) == []


def test_no_lesson_is_without_a_source() -> None:
    assert rules.check_names(REAL) == []
