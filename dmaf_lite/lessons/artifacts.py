"""Results that lessons share: made once, reused only when nothing that they depend on has changed.

``load_or_make`` is why every lesson opens alone: what an earlier lesson would have left is made on the spot.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import shutil
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

from dmaf_lite.base.atomic import sweep, write_text
from dmaf_lite.lessons.fingerprint import PACKAGE, canonical, code_digest, digest, file_digest, module_file

MANIFEST = "manifest.json"
LEFT_BEHIND = 24 * 3600.0  # seconds: a half artefact that old belongs to a process that was killed
Recipe = Callable[..., None]


def root() -> Path:
    """Where artefacts lie: ``DMAF_ARTIFACTS``, else ``build/artifacts/<profile>`` of the checkout."""
    if os.environ.get("DMAF_ARTIFACTS"):
        return Path(os.environ["DMAF_ARTIFACTS"])
    checkout = PACKAGE.parent
    base = checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()
    return base / "build" / "artifacts" / os.environ.get("DMAF_PROFILE", "cpu-small")


def data_folder(name: str) -> Path:
    """Folder of a real cohort, ``DMAF_DATA/name``.

    Raises:
        FileNotFoundError: If ``DMAF_DATA`` is not set or has no such folder.
    """
    base = os.environ.get("DMAF_DATA")
    if base is None:
        raise FileNotFoundError(f"DMAF_DATA is not set; expected the folder that holds {name}/. "
                                "Set it before you start Jupyter or papermill (see docs/getting_brats.md).")
    folder = Path(base) / name
    if not folder.is_dir():
        folders = sorted(p.name for p in Path(base).glob("*/")) if Path(base).is_dir() else "no such folder"
        raise FileNotFoundError(f"DMAF_DATA has no folder {name}; found {folders}. "
                                "See docs/getting_brats.md for what lands where.")
    return folder


def load_or_make(name: str, recipe: Recipe, config: Mapping[str, Any], *, needs: Sequence[Path] = ()) -> Path:
    """Return the folder of artefact `name`, made now unless a current one is there.

    Args:
        name: Folder name below `root`; say what it is (``small-cohort``).
        recipe: ``recipe(folder, config, *needs)`` writes files into `folder`.  A plain function, without closure.
        config: Everything else that the result depends on, plain values only.
        needs: Folders of other artefacts that the recipe reads.

    Returns:
        The folder.  One line is printed: reused, made, or remade and why.

    Raises:
        ValueError: If the recipe hides a dependency (closure, defaults outside `config`) or the config is not plain.
    """
    folder = root() / name
    wanted = {
        "config": _plain(name, config),
        "recipe": _recipe_digest(recipe),
        "needs": {need.name: content_of(need) for need in needs},
    }
    with _makes_alone(folder) if _why_not(folder, wanted) is not None else nullcontext():
        reason = _why_not(folder, wanted)  # another process may have made it while this one waited
        seconds = 0.0 if reason is None else _make(folder, recipe, config, needs, wanted)
    if reason is None:
        manifest = _manifest(folder)
        print(f"{name}: reused, made {manifest['date'][:16].replace('T', ' ')} by {manifest['by']} "
              f"in {manifest['seconds']:.0f} s")
    else:
        print(f"{name}: made in {seconds:.0f} s" + (f" (again: {reason})" if reason else ""))
    _log(name, folder)
    return folder


def content_of(folder: Path) -> str:
    """Digest of an artefact's recipe, settings and files.

    Raises:
        FileNotFoundError: If the folder is not a finished artefact.
    """
    manifest = _manifest(folder)
    if manifest is None:
        raise FileNotFoundError(f"{folder.name} is not a finished artefact: no readable {MANIFEST} in it. "
                                "Pass a folder that load_or_make returned.")
    return digest({key: manifest[key] for key in ("config", "recipe", "needs", "files")})


@contextmanager
def _makes_alone(folder: Path) -> Iterator[None]:
    """Hold the lock of an artefact: whoever wants the same one meanwhile waits. It is free when its process ends."""
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        yield


def _plain(name: str, config: Mapping[str, Any]) -> Any:
    try:
        return json.loads(json.dumps(dict(config)))
    except TypeError as error:
        raise ValueError(f"the config of {name} must hold plain values "
                         f"(numbers, text, lists, mappings): {error}") from None


def _recipe_digest(recipe: Recipe) -> str:
    """Digest of the recipe: its whole module where that is dmaf_lite's, else the function and what it uses of it."""
    if not inspect.isfunction(recipe):
        raise ValueError(f"the recipe must be a plain function, got {recipe!r}; put its settings into config")
    if recipe.__closure__ or recipe.__defaults__ or recipe.__kwdefaults__:
        raise ValueError(f"recipe {recipe.__name__} takes values that are not in config (a closure or defaults); "
                         "put them into config, or a change would go unnoticed")
    if module_file(recipe.__module__):
        return digest([recipe.__qualname__, code_digest([recipe.__module__])])
    used = [recipe.__globals__.get(name) for name in recipe.__code__.co_names]
    modules = {getattr(item, "__module__", None) or getattr(item, "__name__", "") for item in used}
    tree = ast.parse(textwrap.dedent(inspect.getsource(recipe)))
    return digest([canonical(tree), code_digest(m for m in modules if m.split(".")[0] == PACKAGE.name)])


def _why_not(folder: Path, wanted: Mapping[str, Any]) -> str | None:
    """None if `folder` holds what is wanted, "" if nothing is there, else what differs."""
    if not folder.exists():
        return ""
    manifest = _manifest(folder)
    if manifest is None:
        return "it was not finished"
    if manifest["config"] != wanted["config"]:
        old, new = manifest["config"], wanted["config"]
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        return ", ".join(f"{key} was {old.get(key)!r}, is {new.get(key)!r}" for key in changed)
    if manifest["needs"] != wanted["needs"]:
        return "something that it is made from has changed"
    if manifest["recipe"] != wanted["recipe"]:
        return "its code has changed"
    missing = [file for file, size in manifest["sizes"].items()
               if not (folder / file).is_file() or (folder / file).stat().st_size != size]
    return f"{missing[0]} is missing or has another size" if missing else None


def _make(folder: Path, recipe: Recipe, config: Mapping[str, Any], needs: Sequence[Path],
          wanted: Mapping[str, Any]) -> float:
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder.parent, older=LEFT_BEHIND)
    partial = folder.with_name(f".{uuid.uuid4().hex[:8]}.partial.{folder.name}")
    partial.mkdir()
    start = time.monotonic()
    try:
        recipe(partial, dict(config), *needs)
        seconds = time.monotonic() - start
        files = {p.relative_to(partial).as_posix(): p for p in sorted(partial.rglob("*")) if p.is_file()}
        manifest = {
            **wanted,
            "files": {name: file_digest(path) for name, path in files.items()},
            "sizes": {name: path.stat().st_size for name, path in files.items()},
            "by": os.environ.get("DMAF_LESSON", "hand"),
            "date": datetime.now().isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
        }
        write_text(partial / MANIFEST, json.dumps(manifest, indent=1))
        if folder.exists():  # a folder cannot be replaced in one step; the old one steps aside first
            old = folder.with_name(f".{uuid.uuid4().hex[:8]}.old.{folder.name}")
            os.replace(folder, old)
            shutil.rmtree(old)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return seconds


def _manifest(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _log(name: str, folder: Path) -> None:
    """Tell the lesson runner which artefacts a lesson used, so that it knows when to run it again."""
    log = os.environ.get("DMAF_ARTIFACT_LOG")
    if log:
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps([name, content_of(folder)]) + "\n")
