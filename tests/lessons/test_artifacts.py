"""Artefacts are reused only when nothing that they depend on has changed."""

from __future__ import annotations

import ast
import functools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dmaf_lite.lessons import artifacts, fingerprint
from dmaf_lite.lessons.artifacts import LEFT_BEHIND, data_folder, load_or_make
from dmaf_lite.lessons.fingerprint import canonical, code_digest, digest, imported

CALLS: list[str] = []


def write_number(folder: Path, config: dict, *needs: Path) -> None:
    CALLS.append(folder.name)
    (folder / "sub").mkdir()
    (folder / "sub" / "n.txt").write_text(f"{config['n']}" + "".join((x / "sub/n.txt").read_text() for x in needs))


def write_another(folder: Path, config: dict) -> None:
    (folder / "n.txt").write_text("other")


def fail(folder: Path, config: dict) -> None:
    (folder / "half.txt").write_text("x")
    raise RuntimeError("no")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    CALLS.clear()
    monkeypatch.setenv("DMAF_ARTIFACTS", str(tmp_path / "store"))
    monkeypatch.delenv("DMAF_ARTIFACT_LOG", raising=False)
    return tmp_path / "store"


def test_made_once_then_reused_and_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (load_or_make("a", write_number, {"n": 1}) for _ in range(2))
    assert first == second and (first / "sub" / "n.txt").read_text() == "1" and len(CALLS) == 1
    made, reused = capsys.readouterr().out.splitlines()
    assert "made in" in made and "reused" in reused


def write_slowly(folder: Path, config: dict) -> None:
    CALLS.append(folder.name)
    time.sleep(0.3)
    (folder / "n.txt").write_text("n")


def test_two_that_want_the_same_make_it_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: load_or_make("a", write_slowly, {}), range(2))
    assert one == two and (one / "n.txt").is_file() and len(CALLS) == 1
    assert sorted(line.split()[1] for line in capsys.readouterr().out.splitlines()) == ["made", "reused,"]


@pytest.mark.parametrize(("change", "words"), [
    (lambda folder: load_or_make("a", write_number, {"n": 2}), "n was 1, is 2"),
    (lambda folder: load_or_make("a", write_number, {"n": 1, "m": 0}), "m was None, is 0"),
    (lambda folder: load_or_make("a", write_another, {"n": 1}), "its code has changed"),
    (lambda folder: ((folder / "sub/n.txt").unlink(), load_or_make("a", write_number, {"n": 1})), "n.txt is missing"),
    (lambda folder: ((folder / "manifest.json").write_text("{"), load_or_make("a", write_number, {"n": 1})),
     "not finished"),
])
def test_what_differs_is_made_again_with_the_reason(capsys: pytest.CaptureFixture[str], change, words: str) -> None:
    folder = load_or_make("a", write_number, {"n": 1})
    capsys.readouterr()
    change(folder)
    assert words in capsys.readouterr().out


def test_a_change_upstream_remakes_what_was_made_from_it() -> None:
    up = load_or_make("up", write_number, {"n": 1})
    load_or_make("down", write_number, {"n": 5}, needs=[up])
    up = load_or_make("up", write_number, {"n": 2})
    down = load_or_make("down", write_number, {"n": 5}, needs=[up])
    assert (down / "sub/n.txt").read_text() == "52"
    with pytest.raises(FileNotFoundError, match="not a finished artefact"):
        load_or_make("down", write_number, {"n": 5}, needs=[up / "sub"])


def test_a_recipe_that_fails_leaves_nothing_and_keeps_what_was(root: Path) -> None:
    load_or_make("a", write_another, {})
    with pytest.raises(RuntimeError, match="no"):
        load_or_make("a", fail, {})
    assert {p.name for p in root.iterdir()} == {"a", ".a.lock"} and (root / "a" / "n.txt").read_text() == "other"


def test_what_a_killed_recipe_left_goes_with_the_next_one(root: Path) -> None:
    left = root / ".0123abcd.partial.thing"
    (left / "inside").mkdir(parents=True)
    os.utime(left, (time.time() - 2 * LEFT_BEHIND,) * 2)
    load_or_make("thing", write_number, {"n": 1})
    assert not left.exists()


def test_a_recipe_may_not_hide_what_it_depends_on() -> None:
    hidden = 3

    def closure(folder: Path, config: dict) -> None:
        (folder / "n.txt").write_text(str(hidden))

    def default(folder: Path, config: dict, n: int = 1) -> None: ...

    for recipe in (closure, default, functools.partial(write_number, n=1)):
        with pytest.raises(ValueError, match="config"):
            load_or_make("a", recipe, {})
    with pytest.raises(ValueError, match="plain values"):
        load_or_make("a", write_number, {"n": object()})


def test_the_runner_learns_what_was_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMAF_ARTIFACT_LOG", str(tmp_path / "log"))
    folder = load_or_make("a", write_number, {"n": 1})
    assert artifacts.content_of(folder) in (tmp_path / "log").read_text()


def test_data_folder_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DMAF_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="DMAF_DATA is not set"):
        data_folder("brats2020")
    monkeypatch.setenv("DMAF_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no folder brats2020"):
        data_folder("brats2020")
    (tmp_path / "brats2020").mkdir()
    assert data_folder("brats2020") == tmp_path / "brats2020"


def test_comments_and_docstrings_do_not_count_but_code_does() -> None:
    trees = [canonical(ast.parse(text)) for text in (
        'def f(x):\n    """One."""\n    return x + 1\n',
        "def f(x):  # a comment\n\n    return x + 1\n",
        "def f(x):\n    return x + 2\n",
    )]
    assert digest(trees[0]) == digest(trees[1]) != digest(trees[2])


def test_the_digest_follows_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "kit"
    (package / "part").mkdir(parents=True)
    for name, text in {"__init__": "", "a": "def f():\n    from kit.part import b\n", "c": "x = 1",
                       "part/__init__": "", "part/b": "from ..c import x\n"}.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.setattr(fingerprint, "PACKAGE", package)
    assert imported(ast.parse("import numpy\nfrom kit import a, nothing")) == {"kit", "kit.a"}
    first = code_digest(["kit.a"])
    (package / "c.py").write_text("x = 2  # longer")
    second = code_digest(["kit.a"])
    (package / "part" / "table.csv").write_text("1")
    third = code_digest(["kit.a"])
    (package / "unused.py").write_text("y = 1")
    assert len({first, second, third}) == 3 and code_digest(["kit.a"]) == third
