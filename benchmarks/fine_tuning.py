"""What are a few labelled studies of one's own worth?  Dice after fine-tuning on 0, 1, 3, 5, 10, 30 of them.

    python -m benchmarks.fine_tuning --work runs/fine_tuning

The group's own studies are synthetic phantoms of *another scanner*, the same for all of them: other contrast of every
scan, thick slices, noise.  Each number of studies is tried from both shipped weights and from random numbers, with the
same number of steps.  Finished runs are kept, so a second call goes on.  Lesson 14 reads the table,
`notebooks/results/fine_tuning.parquet`.
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from scipy import ndimage as ndi
from torch import nn
from tqdm.auto import tqdm

from dmaf_lite.base.atomic import atomic_path, write_text
from dmaf_lite.base.device import choose_device
from dmaf_lite.base.provenance import commit, hardware
from dmaf_lite.data.cohort import Cohort, prepare_cohort
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.evaluation.inference import WindowSettings, subset_probabilities
from dmaf_lite.evaluation.metrics import dice
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.weights import load_weights, shipped
from dmaf_lite.phantom.brain.recipe import write_brain_cohort
from dmaf_lite.spec import BRATS
from dmaf_lite.training.loop import train
from dmaf_lite.training.start import LEARNING_RATE, Start
from dmaf_lite.training.train_settings import TrainSettings

SIZES = (0, 1, 3, 5, 10, 30)
NOTHING = "random numbers"
STARTS = ("dmaf_net_randomised", "dmaf_net_phantom", NOTHING)
SUBSETS = {"all": BRATS.modalities, **{name: (name,) for name in BRATS.modalities}}
SEED = 4000  # of the studies: no training of the kit uses it
# The other scanner: brightness to this power, so that tissues lie closer together or further apart.
GAMMA = {"FLAIR": 1.8, "T1ce": 0.6, "T1": 1.7, "T2": 0.5}
THICK_MM, NOISE = 6.0, 0.12  # slices along z; noise in deviations of the brain


def other_scanner(image: np.ndarray, modality: str, spacing: float, rng: np.random.Generator) -> np.ndarray:
    """A scan (int16, 0 outside the brain) as the other scanner would have taken it, int16 of the same brain."""
    brain = image > 0
    top = np.percentile(image[brain], 99.5)
    values = np.where(brain, np.clip(image / top, 0, 1.3) ** GAMMA[modality], 0).astype(np.float32)
    # Slices are averages; the brain's edge is kept by averaging the mask along with the values.
    sigma = (0, 0, THICK_MM / spacing / np.sqrt(12))
    values = ndi.gaussian_filter(values, sigma) / np.maximum(ndi.gaussian_filter(brain.astype(np.float32), sigma), 0.05)
    values[brain] += NOISE * values[brain].std() * rng.standard_normal(int(brain.sum()))
    return np.where(brain, np.clip(np.rint(800 * values), 1, 32000), 0).astype(np.int16)


def shifted_cohort(folder: Path, count: int, spacing: float = 3.0) -> Cohort:
    """`count` studies of the other scanner, prepared; what is there is kept."""
    write_brain_cohort(folder / "plain", count=count, seed=SEED, workers=0)
    for source in tqdm(sorted((folder / "plain").glob("Phantom_*"))[:count], desc="another scanner", unit="case"):
        target = folder / "raw" / source.name
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(source.glob("*.nii.gz")):
            scan = nib.load(path)
            kind = path.name.removesuffix(".nii.gz").rsplit("_", 1)[1]
            modality = {name.lower(): name for name in BRATS.modalities}.get(kind)
            data = np.asarray(scan.dataobj)
            if modality:
                rng = np.random.default_rng([SEED, int(source.name[-3:]), BRATS.modalities.index(modality)])
                data = other_scanner(data, modality, spacing, rng)
            if not (target / path.name).exists():
                nib.save(nib.Nifti1Image(data, scan.affine), target / path.name)
    prepare_cohort(folder / "raw", folder / "prepared", layout="phantom", minimum=32, workers=0)
    return Cohort(folder / "prepared")


def scores(net: nn.Module, cohort: Cohort, names: list[str], window: tuple[int, ...]) -> pd.DataFrame:
    """Dice of each study, subset and region."""
    masks = np.array([BRATS.mask_of(names_of) for names_of in SUBSETS.values()])
    rows = []
    for name in names:
        images, truth = cohort.read(name)
        found = subset_probabilities(net, images, masks, settings=WindowSettings(window=window))
        for subset, label in zip(SUBSETS, found.argmax(1).cpu().numpy(), strict=True):
            rows += [{"case": name, "subset": subset, "region": region,
                      "value": dice(BRATS.region_mask(label, region), BRATS.region_mask(truth, region))}
                     for region in BRATS.regions]
    return pd.DataFrame(rows)


def one(size: int, weights: str, cohort: Cohort, own: list[str], tested: list[str], work: Path, steps: int
        ) -> pd.DataFrame:
    """Rows of one point of the curve; a finished one is only read."""
    kept = work / f"{weights.replace(' ', '_')}-{size}-{steps}.csv"
    if kept.exists():
        return pd.read_csv(kept)
    start = None if weights == NOTHING else Start.of(weights)
    if size == 0:
        torch.manual_seed(0)
        net = start.net if start else build_network("dmaf_net", BRATS).eval()
    else:
        settings = TrainSettings(steps=steps, lr=LEARNING_RATE if start else 2e-3, origin=start.digest if start else "")
        net = train(TrainingSet(cohort, own[:size]), work / kept.stem, settings, start=start)
    rows = scores(net, cohort, tested, TrainSettings().crop)
    rows = rows.assign(own=size, start=weights)
    write_text(kept, rows.to_csv(index=False))
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for studies and runs; a second call goes on")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--tested", type=int, default=8, help="studies that nothing is trained on")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of own studies")
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=STARTS, help="where the trainings begin")
    parser.add_argument("--out", type=Path, default=Path("notebooks/results"), help="folder for the table and its card")
    args = parser.parse_args()
    for name in args.starts:
        if name != NOTHING:
            load_weights(shipped(name))  # before hours of work
    cohort = shifted_cohort(args.work, max(SIZES) + args.tested)
    own, tested = cohort.names[: max(SIZES)], cohort.names[max(SIZES):][: args.tested]
    rows = [one(size, start, cohort, own, tested, args.work, args.steps)
            for size in args.sizes for start in args.starts]
    with atomic_path(args.out / "fine_tuning.parquet") as partial:
        pd.concat(rows, ignore_index=True).to_parquet(partial, index=False)
    card = {"data": "brain phantoms of another scanner (synthetic)", "steps": args.steps, "tested": args.tested,
            "learning_rate": {"weights": LEARNING_RATE, NOTHING: 2e-3}, "gamma": GAMMA, "thick_mm": THICK_MM,
            "noise": NOISE, "hardware": hardware(choose_device("auto")), "torch": torch.__version__,
            "commit": commit(), "date": date.today().isoformat()}
    write_text(args.out / "fine_tuning.json", json.dumps(card, indent=1))


if __name__ == "__main__":
    main()
