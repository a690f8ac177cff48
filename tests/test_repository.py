"""What the repository promises: one list of dependencies, a true README, nothing private, a quick import."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dmaf_lite.__main__ import COMMANDS, main
from dmaf_lite.lessons.publish import lesson_table, with_table
from dmaf_lite.lessons.source import Workspace

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def tracked() -> list[Path]:
    """Files of the repository: what git knows or would take, else all but what is built."""
    listing = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                             capture_output=True, text=True)
    names = listing.stdout.splitlines() if listing.returncode == 0 else [
        p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*")
        if not {".venv", "build", "__pycache__", ".git"} & set(p.relative_to(ROOT).parts)]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def text_files() -> dict[str, str]:
    files = {}
    for path in tracked():
        try:
            files[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # binary
    return files


def test_conda_and_make_install_the_same() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    by_pip = next(entry["pip"] for entry in conda if isinstance(entry, dict))
    install = re.search(r"^INSTALL := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert " ".join(by_pip) == install == "-c constraints.txt -e .[test]"
    assert f'pip install {install.replace(".[test]", chr(34) + ".[test]" + chr(34))}' in README
    others = {entry.split("=")[0] for entry in conda if isinstance(entry, str)}
    assert others == {"python", "pip"}, "packages come from pip, or there would be two lists"
    python = next(entry for entry in conda if isinstance(entry, str) and entry.startswith("python="))
    assert Requirement(f"x{PROJECT['requires-python']}").specifier.contains(python.removeprefix("python="))


def test_every_dependency_is_pinned_within_its_bounds_and_has_a_reason() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    text = (ROOT / "pyproject.toml").read_text()
    extras = PROJECT["optional-dependencies"]
    for extra in (PROJECT["dependencies"], extras["test"], extras["browser"], extras["cluster"]):
        for requirement in map(Requirement, extra):
            pin = pins[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(pin, prereleases=True), f"{requirement} against {pin}"
            assert re.search(rf'"{re.escape(requirement.name)}[^"]*",? *# \w', text), f"{requirement.name}: no reason"
    assert not any("[lab]" in dependency for dependency in PROJECT["dependencies"])


def test_what_is_imported_is_declared() -> None:
    names = {"yaml": "pyyaml", "PIL": "pillow", "IPython": "jupyterlab",
             "jupyter_server_mathjax": "jupyter-server-mathjax", "surface_distance": "surface-distance",
             "nbconvert": "jupyterlab", "pydantic_core": "pydantic", "traitlets": "jupyterlab",
             "packaging": "jupyterlab"}
    declared = {Requirement(d).name for d in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["cluster"])}
    own = {"dmaf_lite", *sys.stdlib_module_names}
    for path in [*(ROOT / "dmaf_lite").rglob("*.py"), *(ROOT / "data_scripts").glob("*.py"),
                 *(ROOT / "notebooks" / "src").glob("*.py")]:
        for module in re.findall(r"^\s*(?:from|import) ([A-Za-z_]\w*)", _code(path), re.MULTILINE):
            assert module in own or names.get(module, module) in declared, f"{path.name} imports {module}"


def _code(path: Path) -> str:
    """Source without docstrings and comments, so that prose which begins with `from` is no import."""
    return re.sub(r'""".*?"""|#[^\n]*', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_readme_lists_the_lessons_as_they_are() -> None:
    workspace = Workspace()
    assert with_table(README, lesson_table(workspace, workspace.lessons())) == README, "run `make exercises`"


def test_the_readme_tells_what_it_must_in_the_first_screen() -> None:
    first = "\n".join(README.splitlines()[:40])
    assert "make reproduce" in first and "make test" in first
    assert "For research and teaching, not a medical device; shipped weights know phantoms only." in README
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", README)) <= targets
    steps = (ROOT / ".ci" / "run").read_text()
    assert {"test", "test-browser"} <= set(re.findall(r"\bmake ([a-z-]+)", steps))


@pytest.mark.parametrize(("user", "allowed"), [("0", True), ("1000", False)])
def test_jupyterlab_starts_for_root_with_a_word(tmp_path: Path, user: str, allowed: bool) -> None:
    (tmp_path / "id").write_text(f"#!/bin/sh\necho {user}\n")
    (tmp_path / "id").chmod(0o755)
    (tmp_path / "python").symlink_to("/bin/echo")  # says what would be started
    said = subprocess.run(["make", "-s", "-o", f"{tmp_path}/.installed", f"VENV={tmp_path}", f"BIN={tmp_path}", "lab"],
                          cwd=ROOT, capture_output=True, text=True, check=True,
                          env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}).stdout
    assert ("You are root" in said) == allowed == ("--allow-root notebooks/00_" in said), said
    assert "-m jupyterlab" in said and "notebooks/00_check_your_setup.ipynb" in said


PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target and not target.startswith("#"):
            assert ((ROOT / page).parent / target.split("#")[0]).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", sorted(name for name in text_files() if name.endswith(".md")))
def test_modules_that_a_page_names_are_there(page: str) -> None:
    """As `nn/fusion.py`, from the package or the checkout; a name without a folder is one of some room.

    But not those that a reader is asked to make.
    """
    names = {path.relative_to(ROOT).as_posix() for path in tracked() if path.suffix == ".py"}
    places = names | {name.removeprefix("dmaf_lite/") for name in names} | {name.split("/")[-1] for name in names}
    for name in re.findall(r"`([\w/]+\.py)`", (ROOT / page).read_text(encoding="utf-8")):
        if "NN_" in name or "channel_fusion" in name:
            continue
        assert name in places, f"{page}: {name}"


def test_nothing_private_is_in_the_repository() -> None:
    # Written in pieces, or this file would be found.
    folders = "ho" + "me|ro" + "ot|wo" + "rk|t" + "mp|Us" + "ers"
    machine = re.compile(rf"(?<![\w.~])/(?:{folders})/[a-z]|[A-Z]:\\Us" + "ers")
    hosts = re.compile("pypi" + r"\.org|files\.python" + "hosted|conda" + r"\.anaconda\.org|registry\.npm" + "js")
    found = [f"{name}: {hit[0]}" for name, text in text_files().items()
             for pattern in (machine, hosts) if (hit := pattern.search(text))]
    assert found == []


def test_no_study_is_in_the_repository_and_no_file_is_large() -> None:
    for path in tracked():
        assert not path.name.endswith((".nii", ".nii.gz", ".dcm")), path.name
        assert path.stat().st_size < (10_000_000 if path.suffix == ".safetensors" else 1_000_000), path.name


def test_the_top_level_is_as_promised() -> None:
    top = {path.relative_to(ROOT).parts[0] for path in tracked()}
    expected = {"notebooks", "dmaf_lite", "data_scripts", "tests", "docs", "environment.yml", "README.md", "LICENSE",
                "pyproject.toml", "constraints.txt", "Makefile", "CITATION.cff", "CONTRIBUTING.md", ".ci", ".github",
                ".gitignore", ".gitattributes"}
    assert expected <= top and top - expected <= {"benchmarks", "results"}


def test_importing_the_package_is_quick() -> None:
    code = "import dmaf_lite, sys; print(sorted({m.split('.')[0] for m in sys.modules} & set(sys.argv[1:])))"
    heavy = ["torch", "numpy", "monai", "pandas", "matplotlib", "IPython"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_every_python_that_is_admitted_is_tried_and_named() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    versions = workflow["jobs"]["all"]["strategy"]["matrix"]["python"]
    admitted = Requirement(f"x{PROJECT['requires-python']}").specifier
    assert [f"3.{n}" for n in range(30) if admitted.contains(f"3.{n}")] == versions
    make = (ROOT / "Makefile").read_text()
    first, last = (version.split(".") for version in (versions[0], versions[-1]))
    assert f"({first[0]}, {first[1]}) <= sys.version_info[:2] <= ({last[0]}, {last[1]})" in make
    assert all(f"python{version} " in make for version in versions)
    assert f"Python {versions[0]} to {versions[-1]}" in README


def test_the_console_command_is_the_door() -> None:
    assert PROJECT["scripts"] == {"dmaf": "dmaf_lite.__main__:main"}


EARLY = "import dmaf_lite, os; print(*(os.environ.get(n) for n in ('GOMP_SPINCOUNT', 'CUBLAS_WORKSPACE_CONFIG')))"


@pytest.mark.parametrize(("own", "expected"), [({}, "20000 :4096:8"), ({"GOMP_SPINCOUNT": "7"}, "7 :4096:8"),
                                               ({"OMP_WAIT_POLICY": "active"}, "None :4096:8")])
def test_waiting_threads_sleep_soon_unless_the_user_says_otherwise(own: dict[str, str], expected: str) -> None:
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "CUBLAS_WORKSPACE_CONFIG")
    environment = {k: v for k, v in os.environ.items() if k not in names} | own
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, check=True, cwd=ROOT,
                          env=environment)
    assert done.stdout.strip() == expected


def test_itkwidgets_is_imported_by_optional_notebooks_only() -> None:
    pattern = re.compile(r"^\s*(?:\"\s*)?(?:from|import) itkwidgets", re.MULTILINE)
    assert [name for name, text in text_files().items()
            if pattern.search(text) and not name.startswith("notebooks/optional/")] == []


def test_the_command_line_names_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert all(name in capsys.readouterr().out + "".join(COMMANDS) for name in COMMANDS)
    with pytest.raises(SystemExit) as caught:
        main(["nothing"])
    assert caught.value.code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"dmaf_lite {command}" in capsys.readouterr().out
