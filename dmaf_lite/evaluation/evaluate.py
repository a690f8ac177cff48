"""All subsets of modalities of every case, scored into one long table.

One row per (run, case, subset, region, slice, metric, convention) -> value and unit; every table and figure is a pivot
of it.  The evaluator knows no method by name: whatever keeps the encode/decode contract is scored alike.

What is scored: `scoring.py`; by which rules: `conventions.py`; on which grid: the column `grid`.  "store" is the box
that was prepared: truth voxels outside it count against dice and sensitivity, distances are taken inside it.
"files" is the grid of the study's own files, on which `predict` writes.

Taught in lesson 09.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn
from tqdm.auto import tqdm

from dmaf_lite.base.atomic import atomic_path
from dmaf_lite.base.device import choose_device, choose_precision
from dmaf_lite.base.memory import keep_freed_memory
from dmaf_lite.base.settings import read_settings, to_plain
from dmaf_lite.data.case import CaseError
from dmaf_lite.data.cohort import Cohort, read_names
from dmaf_lite.evaluation.conventions import CONVENTIONS, EvaluationSettings, usual
from dmaf_lite.evaluation.file_grid import Placed, check_prepared, label_on_files
from dmaf_lite.evaluation.inference import check_window, subset_probabilities, windows_of
from dmaf_lite.evaluation.metrics import DEFINITIONS, EMPTY, HD95, diagonal_mm
from dmaf_lite.evaluation.scoring import score_case
from dmaf_lite.methods.weights import load_weights, weights_digest, weights_file
from dmaf_lite.spec import SPECS

if TYPE_CHECKING:
    import pandas as pd

# What a bad case or a full device raises; a bug in the kit (TypeError, ...) still stops the run.
EXPECTED = (ValueError, OSError, RuntimeError, MemoryError)
COLUMNS = ("run", "case", "subset", "region", "slice", "metric", "convention", "unit", "grid", "value")


class CasesFailed(RuntimeError):
    """Some cases could not be evaluated; the others are done and kept.

    Attributes:
        failed: Case -> what was wrong.
        rows: The long table of all other cases.
    """

    def __init__(self, failed: dict[str, str], rows: pd.DataFrame) -> None:
        lines = "\n".join(f"  {name}: {reason}" for name, reason in failed.items())
        super().__init__(f"{len(failed)} of {len(failed) + rows['case'].nunique()} cases failed, "
                         f"the others are in .rows:\n{lines}")
        self.failed, self.rows = failed, rows


@dataclass(frozen=True)
class _Study:
    """A case as it is scored: images float32[M, D, H, W], truth uint8[D, H, W], the subsets that it can show."""

    images: np.ndarray
    truth: np.ndarray
    subsets: list[tuple[bool, ...]]
    whole: bool  # False: a centre crop, and only what lies in it exists
    # Where the arrays lie in the files' grid, if that one is another and is scored; the truth is then on it.
    placed: Placed | None = None


def _read(cohort: Cohort, name: str, settings: EvaluationSettings) -> _Study:
    meta, exists = cohort.meta(name), cohort.available(name)
    if not meta["labelled"]:
        raise CaseError(name, found="no segmentation", expected="one to compare with",
                        do="leave the case out of the evaluation, or use predict")
    subsets = [mask for mask in cohort.spec.subsets() if not (np.array(mask) & ~exists).any()]
    start, size = settings.visible(meta)
    images, truth = cohort.read(name, start, size)
    if settings.grid != "store" and tuple(meta["grid_shape"]) != tuple(meta["original_shape"]) \
            and settings.scores_files(meta, synthetic=bool(cohort.layout.synthetic)):
        return _Study(images, cohort[name].truth(), subsets, whole=True, placed=cohort[name])
    return _Study(images, truth, subsets, whole=start is None)


def _predict(net: nn.Module, study: _Study, settings: EvaluationSettings, share_encoder: bool) -> np.ndarray:
    """uint8[S, D, H, W], the label map of every subset, on the grid that is scored."""
    probabilities = subset_probabilities(net, study.images, np.array(study.subsets), settings=settings.windows,
                                         share_encoder=share_encoder)
    if study.placed is not None:
        return np.stack([label_on_files(one, study.placed) for one in probabilities])
    return probabilities.argmax(dim=1).byte().cpu().numpy()


def _score(labels: np.ndarray, study: _Study, cohort: Cohort, name: str, settings: EvaluationSettings) -> pd.DataFrame:
    import pandas as pd

    meta = cohort.meta(name)
    original_spacing = np.linalg.norm(meta["original_affine"][:3, :3], axis=0)
    rows = pd.DataFrame(score_case(
        labels, study.truth, subsets=study.subsets, spec=cohort.spec, dice=settings.dice,
        spacing=meta["spacing"] if study.placed is None else tuple(float(s) for s in original_spacing),
        hd95=settings.hd95, small_region=settings.small_region,
        diagonal=diagonal_mm(meta["original_shape"], original_spacing),
        outside=meta["label_outside"] if study.whole and study.placed is None else {},
    ))
    rows.insert(0, "case", name)
    one_grid = tuple(meta["grid_shape"]) == tuple(meta["original_shape"])
    return rows.assign(grid="files" if one_grid or study.placed is not None else "store")


def evaluate(net: nn.Module, cohort: Cohort, names: Sequence[str], *, settings: EvaluationSettings | None = None,
             run: str = "run", folder: str | Path | None = None, share_encoder: bool = True,
             progress: bool = True, in_flight: int = 2) -> pd.DataFrame:
    """The long table of a network on some cases, all subsets in one pass.

    Args:
        net: Any network of the contract; runs on the device that it is on.
        cohort: A prepared cohort of the network's data set.
        names: The cases.
        settings: Windows and conventions; default the kit's.
        run: Name in the column `run`.
        folder: Keep the rows of each finished case here, so that an interrupted evaluation goes on where it was.
            A file is only taken up again for the same run name, weights, settings and prepared case.
        share_encoder: False encodes anew for each subset, see `evaluate_naive`.
        progress: Show a bar over the cases.
        in_flight: Cases whose distances are measured by threads while the network is at the next one. The
            rows do not depend on it; each holds S label maps in memory.

    Returns:
        Columns run, case, subset, region, slice (-1: the whole case), metric, convention, unit, grid, value.

    Raises:
        ValueError: If the window does not fit the network.
        CasesFailed: After all cases, if some failed; its `rows` hold the others.
    """
    import pandas as pd

    settings = settings or EvaluationSettings()
    check_window(net, settings.windows.window)
    if next(net.parameters()).device.type == "cpu":
        keep_freed_memory()
    digest = _network_digest(net)
    rules = to_plain(settings)  # with what "auto" becomes on this device: its digits are not those of another
    rules["windows"]["precision"] = str(choose_precision(settings.windows.precision, next(net.parameters()).device))
    parts, failed, pending = {}, {}, deque()

    def score(name: str, kept: Path | None, study: _Study, labels: np.ndarray) -> pd.DataFrame:
        rows = _score(labels, study, cohort, name, settings)
        if kept:
            with atomic_path(kept) as partial:
                rows.to_parquet(partial, index=False)
        return rows

    def collect(name: str, rows: Callable[[], pd.DataFrame]) -> None:
        """Take in the rows of a case; what a bad case or a full device raises is kept for the end."""
        try:
            parts[name] = rows().assign(run=run)
        except EXPECTED as error:
            failed[name] = str(error) or type(error).__name__

    with ThreadPoolExecutor(max(1, in_flight)) as pool:
        for name in tqdm(dict.fromkeys(names), desc="evaluate", unit="case", disable=not progress):
            try:
                recipe = [run, digest, rules, share_encoder, cohort[name].identity]
                kept = Path(folder) / f"{name}.{_sha256(json.dumps(recipe).encode())[:12]}.parquet" if folder else None
                if kept and kept.exists():
                    parts[name] = pd.read_parquet(kept).assign(run=run)
                    continue
                study = _read(cohort, name, settings)
                labels = _predict(net, study, settings, share_encoder)
            except EXPECTED as error:
                failed[name] = str(error) or type(error).__name__
                continue
            pending.append((name, pool.submit(score, name, kept, study, labels).result))
            if len(pending) > in_flight:
                collect(*pending.popleft())
        while pending:
            collect(*pending.popleft())
    done = [parts[name] for name in dict.fromkeys(names) if name in parts]
    table = pd.concat(done, ignore_index=True)[list(COLUMNS)] if done else pd.DataFrame(columns=list(COLUMNS))
    if failed:
        raise CasesFailed(failed, table)
    return table


def evaluate_naive(net: nn.Module, cohort: Cohort, names: Sequence[str], **options: Any) -> pd.DataFrame:
    """`evaluate` as the public code does it: encode and decode anew for each subset.  The same digits, slower."""
    return evaluate(net, cohort, names, share_encoder=False, **options)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _network_digest(net: nn.Module) -> str:
    """Identity of a network: its structure in words and every number in it."""
    words = repr(net) + repr(getattr(net, "settings", None))
    return _sha256((words + weights_digest(net)).encode())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m dmaf_lite evaluate``."""
    parser.description = "Score weights on prepared cases under every subset of modalities."
    parser.add_argument("--weights", type=Path, required=True,
                        help="weights.safetensors of a run, or the name of the kit's own")
    parser.add_argument("--cohort", type=Path, required=True, help="folder of a prepared cohort")
    parser.add_argument("--cases", type=Path, help="text file with one case name a line; default: every case")
    parser.add_argument("--out", type=Path, required=True, help="folder for rows.parquet and table.md")
    parser.add_argument("--run", help="name in the column `run`; default: the name of the folder --out")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--convention", choices=CONVENTIONS, default="kit",
                     help="score as published code does; default: %(default)s, with the window of the weights")
    how.add_argument("--settings", type=Path, help="YAML file with settings of your own")
    parser.add_argument("--window", type=int, nargs="+", help="side of the window in voxels, one number or three")
    parser.add_argument("--hd95", nargs="+", metavar="DEFINITION/EMPTY",
                        help=f"HD95 conventions: {', '.join(DEFINITIONS)} / {', '.join(EMPTY)}")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")


def main(args: argparse.Namespace) -> int:
    """Run ``python -m dmaf_lite evaluate``; 0, or 1 where a case failed."""
    from dmaf_lite.evaluation.tables import markdown, written_tables

    net, card = load_weights(weights_file(args.weights), choose_device(args.device))
    cohort = Cohort(args.cohort)
    if card["spec"] != cohort.spec.name:
        raise ValueError(f"{args.weights} was trained on {card['spec']}, {args.cohort} holds {cohort.spec.name}; "
                         "use weights and cohort of one data set")
    settings = settings_of(args, card)
    names = read_names(args.cases) if args.cases else cohort.names
    check_prepared(cohort, [name for name in names if name in cohort.names], card)
    failed: dict[str, str] = {}
    try:
        rows = evaluate(net, cohort, names, settings=settings, run=args.run or args.out.resolve().name,
                        folder=args.out / "rows")
    except CasesFailed as error:
        rows, failed = error.rows, error.failed
    with atomic_path(args.out / "rows.parquet") as partial:
        rows.to_parquet(partial, index=False)
    if len(rows):
        tables = written_tables(rows, cohort.spec)
        text = "\n".join(f"{title}\n\n{markdown(table)}" for title, table in tables.items())
        with atomic_path(args.out / "table.md") as partial:
            partial.write_text(text, encoding="utf-8")
        print(text)
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} of {len(set(names))} cases failed; the others are in {args.out}", file=sys.stderr)
    return 1 if failed else 0


def settings_of(args: argparse.Namespace, card: Mapping[str, Any]) -> EvaluationSettings:
    """Settings of a command line: the file's or the convention's; the kit's with the window of the training."""
    if args.settings:
        settings = read_settings(EvaluationSettings, args.settings)
    elif args.convention in ("kit", "patient", "published"):
        named = None if args.convention == "kit" else args.convention  # "kit": the one for this kind of study
        trained = windows_of(card)
        settings = usual(SPECS[card.get("spec", "brats")], trained.window, named)
        chosen = {"largest": trained.largest, "mirror": trained.mirror}
        settings = replace(settings, windows=replace(settings.windows, **chosen))
    else:
        settings = CONVENTIONS[args.convention]
    if args.window is not None:
        if len(args.window) not in (1, 3):
            raise ValueError(f"--window takes one number or three, got {len(args.window)}")
        window = tuple(args.window) * (3 // len(args.window))
        settings = replace(settings, windows=replace(settings.windows, window=window, largest=None))
    if args.hd95:
        settings = replace(settings, hd95=tuple(HD95(*name.split("/", 1)) for name in args.hd95))
    return settings
