"""Fit how sure the weights may be, on studies that they have not seen.

    python -m dmaf_lite calibrate --weights FILE [--cohort PREPARED [--cases FILE]] [--studies 60]

Without a cohort, synthetic studies are made for it, from another seed than any training of the kit.  The result lies
beside the weights (`calibration.beside`), where `predict` finds it.

Taught in lesson 15.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from tqdm.auto import tqdm

from dmaf_lite.base.device import choose_device
from dmaf_lite.base.settings import to_plain
from dmaf_lite.data.case import CaseError
from dmaf_lite.data.cohort import Cohort, read_names
from dmaf_lite.evaluation import observed
from dmaf_lite.evaluation.calibration import Calibration, beside, write_calibration
from dmaf_lite.evaluation.experience import experience_of, features
from dmaf_lite.evaluation.fitting import fit, judge
from dmaf_lite.evaluation.inference import WindowSettings, windows_of
from dmaf_lite.methods.weights import load_weights, weights_digest, weights_file
from dmaf_lite.phantom.ready import PhantomSettings, ready_cohort

SEED = 4000  # of the synthetic studies: no training of the kit uses it
FEWEST = 10  # studies: with fewer, an interval of 90 % is a guess


def calibrate(net: nn.Module, cohort: Cohort, names: Sequence[str], *, settings: WindowSettings, data: str,
              folder: str | Path | None = None, progress: bool = True) -> Calibration:
    """Calibrate weights on prepared cases with all scans and a segmentation.

    Args:
        net: The network.
        cohort: A prepared cohort on the grid of the weights.
        names: Its cases; none of them may have been trained on.
        settings: Windows, as `predict` will use them.
        data: What the studies are, in words, for the file.
        folder: Keep what was seen on each case here, so that an interrupted call goes on where it was.
        progress: Show a bar over the cases.

    Raises:
        CaseError: A case without a segmentation or without one of the scans.
        ValueError: Fewer than ten cases.
    """
    if len(names) < FEWEST:
        raise ValueError(f"{len(names)} cases to calibrate on; expected at least {FEWEST}: take more studies")
    digest, spec = weights_digest(net), cohort.spec
    studies, seen = [], []
    for name in tqdm(names, desc="calibrate", unit="case", disable=not progress):
        meta, available = cohort.meta(name), tuple(map(bool, cohort.available(name)))
        if not (meta["labelled"] and all(available)):
            raise CaseError(name, found=f"{meta['modalities']}{'' if meta['labelled'] else ' without segmentation'}",
                            expected="all scans and a segmentation", do="leave the case out of --cases")
        images, truth = cohort.read(name)
        seen.append(features(images, available, meta["spacing"], spec))
        kept = Path(folder) / f"{name}.{digest[:8]}.npz" if folder else None
        if kept is None or not kept.exists():
            study = observed.observe(net, images, truth, available, meta["spacing"], spec=spec, settings=settings)
            if kept:
                observed.save(kept, study)
        studies.append(observed.load(kept) if kept else study)
    fitted = fit(studies, spec)
    return Calibration(weights=digest, windows=to_plain(settings), data=data, studies=len(studies),
                       subsets={spec.subset_name(mask): one for mask, one in fitted.items()},
                       experience=experience_of(seen), quality=judge(studies, spec))


def phantoms_for(card: Mapping[str, Any], count: int, folder: str | Path, *, randomise: str = "mixed",
                 seed: int = SEED) -> tuple[Cohort, list[str]]:
    """Synthetic studies on the grid of some weights, made under `folder` where they are not there yet.

    Raises:
        ValueError: Weights of another data set than BraTS, of which the kit makes no phantoms.
    """
    if card["spec"] != "brats":
        raise ValueError(f"weights for {card['spec']}: phantoms are made for brats only; name a prepared --cohort")
    settings = PhantomSettings(train=count, val=1, test=1, seed=seed, spacing=float(card["spacing"][0]),
                               randomise=randomise)
    cohort, split = ready_cohort(folder, settings, minimum=max(card.get("window", (32,))), workers=0)
    return cohort, list(split["train"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m dmaf_lite calibrate``."""
    parser.description = "Fit expected Dice, volumes and confidence of weights on studies that they have not seen."
    parser.add_argument("--weights", type=Path, required=True,
                        help="a .safetensors file with its card, or the name of the kit's own")
    parser.add_argument("--out", type=Path, help="the JSON file; default: beside the weights, where predict looks")
    parser.add_argument("--cohort", type=Path, help="prepared cohort; default: synthetic studies, made for it")
    parser.add_argument("--cases", type=Path, help="text file with the cases, one a line; default: all of the cohort")
    parser.add_argument("--studies", type=int, default=60, help="how many synthetic studies")
    parser.add_argument("--randomise", choices=("off", "mild", "full", "mixed"), default="mixed",
                        help="how the synthetic studies are drawn; off: the kit's plain phantoms (default: mixed)")
    parser.add_argument("--work", type=Path, default=Path("calibration"),
                        help="folder for the synthetic studies and what was seen on them; a second call goes on there")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")


def main(args: argparse.Namespace) -> int:
    """Run ``python -m dmaf_lite calibrate``."""
    args.weights = weights_file(args.weights)
    net, card = load_weights(args.weights, choose_device(args.device))
    if args.cohort:
        cohort = Cohort(args.cohort)
        names = read_names(args.cases) if args.cases else cohort.names
        data = f"{cohort.layout.name}, prepared"
    else:
        cohort, names = phantoms_for(card, args.studies, args.work / "phantoms", randomise=args.randomise)
        data = f"synthetic brain phantoms, randomise {args.randomise}, seed {SEED}"
    found = calibrate(net, cohort, names, settings=windows_of(card), data=data, folder=args.work / "seen")
    path = write_calibration(args.out or beside(args.weights), found)
    for region, numbers in found.quality["regions"].items():
        print(f"{region}: expected and true Dice correlate {numbers['correlation']:.2f}, mean error "
              f"{numbers['error']:.3f}; {numbers['volume_within']:.0%} of the volumes lie within their interval")
    print(f"calibration on {found.studies} studies written to {path}")
    return 0
