"""The heart phantom: synthetic short-axis studies in the same files as MyoPS 2020, from a seed.

``make_heart`` reads as the recipe: shape -> infarct -> signal -> acquisition, one file each.  Nothing in it is a
patient, and a Dice measured on it says nothing about patients.

Taught in the lesson on hearts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dmaf_lite.phantom.fields import Chance
from dmaf_lite.phantom.heart import acquisition as scanner
from dmaf_lite.phantom.heart.infarct import Infarct, draw_injury, thinning
from dmaf_lite.phantom.heart.plane import PlaneGrid
from dmaf_lite.phantom.heart.sequences import contrast, draw_tissues, make_signal
from dmaf_lite.phantom.heart.shape import Chambers, Chest, Heart, Polar, draw_chambers

if TYPE_CHECKING:
    from dmaf_lite.data.case import Case

MODALITIES = ("C0", "LGE", "T2")
# Values on disk, as in MyoPS 2020; later ones cover earlier ones.
LABELS = {"LV": 500, "RV": 600, "myocardium": 200, "oedema": 1220, "scar": 2221}


@dataclass(frozen=True)
class HeartSettings:
    """What a cohort of heart phantoms has in common.

    Attributes:
        spacing: Edge of a pixel in mm, in plane; slices are 12 to 23 mm apart.  2 is the lessons', 0.75 MyoPS's.
        misregistration: What is left over between the scans, mm.
    """

    spacing: float = 2.0
    misregistration: float = 1.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.spacing <= 4:
            raise ValueError(f"spacing is {self.spacing} mm; expected 0.5 to 4: above, a scar is thinner than a pixel")
        if self.misregistration < 0:
            raise ValueError(f"misregistration is {self.misregistration} mm; expected 0 or more")


@dataclass(frozen=True)
class _Patient:
    """All that the planes of one case share."""

    heart: Heart
    infarcts: tuple[Infarct, ...]
    grid: PlaneGrid
    chest: Chest
    fields: dict[str, np.ndarray]

    @classmethod
    def draw(cls, chance: Chance, grid: PlaneGrid) -> _Patient:
        fields = {name: grid.field(chance, name, size)
                  for name, size in (("fine", 14), ("patches", 14), ("lumps", 22), ("coarse", 60))}
        return cls(Heart.draw(chance), Infarct.draw_all(chance), grid, Chest.draw(grid, fields["coarse"]), fields)

    def plane(self, t: float, shift: np.ndarray, squeeze: float = 1.0) -> tuple[Polar, Chambers]:
        polar = Polar.of(self.heart, self.grid, t, shift, squeeze, self.fields["lumps"])
        return polar, draw_chambers(self.heart, polar, thinning(self.infarcts, polar), self.fields)


def make_heart(seed: int, index: int, settings: HeartSettings = HeartSettings()) -> dict[str, np.ndarray]:
    """One synthetic study in memory.

    Args:
        seed: Seed of the cohort, 0 or more.
        index: Number of the case in it, 0 or more; case `index` is the same in a cohort of any size.
        settings: See :class:`HeartSettings`.

    Returns:
        ``"C0", "LGE", "T2"`` (int16[X, Y, Z], Z of 2 to 6 slices from the base down), ``"gd"`` (int16[X, Y, Z],
        values on disk 0, 200, 500, 600, 1220, 2221) and ``"affine"`` (float64[4, 4]); 360 x 360 mm in plane.
    """
    chance = Chance(seed, index)
    patient = _Patient.draw(chance, PlaneGrid(float(settings.spacing)))
    motion = scanner.Motion.draw(patient.heart.slices, chance, settings.misregistration)
    case = {modality: _scan(modality, patient, motion, chance) for modality in MODALITIES}
    case["gd"] = _annotate(patient, motion, chance)
    case["affine"] = _affine(case["gd"].shape, settings.spacing, patient.heart.gap)
    return case


def _scan(modality: str, patient: _Patient, motion: scanner.Motion, chance: Chance) -> np.ndarray:
    """int16[X, Y, Z], one scan."""
    heart, rng = patient.heart, chance.rng(f"scan {modality}")
    table = contrast(modality, chance)
    patchy = np.clip(0.80 + 0.30 * patient.fields["patches"], 0.2, 1.2)
    gain = np.exp(chance.rng("site").uniform(np.log(150), np.log(1500))) * rng.uniform(0.7, 1.4)
    slow = rng.uniform(0.05, 0.22)
    planes = []
    for number, t in enumerate(heart.heights):
        shift = motion.walk[number] + motion.left_over[modality][number]
        signal = np.zeros((patient.grid.n,) * 2, np.float32)
        for dt in scanner.slab_heights(modality, heart.gap, heart.length):
            polar, chambers = patient.plane(t + dt, shift, motion.squeeze[modality])
            tissues = draw_tissues(patient.chest, chambers, draw_injury(patient.infarcts, polar, chambers,
                                                                        patient.fields))
            one = make_signal(table, tissues, patchy) * scanner.dark_rim(chambers, modality, chance)
            if modality == "T2":
                one = one + scanner.slow_blood(chambers, t, slow)
            signal += one / scanner.SUB_SLICES
        beating = chambers.lv | chambers.ring | chambers.rv
        signal = scanner.ghost(signal, beating, modality, chance.rng(f"ghost {modality} {number}"))
        planes.append(scanner.scan_slice(signal, modality, patient.grid, chance, number))
    return np.rint(np.stack(planes, axis=-1) * np.float32(gain)).astype(np.int16)


def _annotate(patient: _Patient, motion: scanner.Motion, chance: Chance) -> np.ndarray:
    """int16[X, Y, Z]: the middle of each slab, by a hand that is never quite on the edge."""
    rng = chance.rng("annotator")
    planes = []
    for number, t in enumerate(patient.heart.heights):
        polar, chambers = patient.plane(t, motion.walk[number] + rng.normal(0, scanner.ANNOTATOR, 2))
        injury = draw_injury(patient.infarcts, polar, chambers, patient.fields)
        label = np.zeros(chambers.lv.shape, np.int16)
        for name, mask in zip(LABELS, (chambers.lv, chambers.rv, chambers.ring, injury.oedema, injury.scar),
                              strict=True):
            label[mask] = LABELS[name]
        planes.append(label)
    return np.stack(planes, axis=-1)


def _affine(shape: tuple[int, ...], spacing: float, gap: float) -> np.ndarray:
    """Array to world (RAS mm), centred, axes L, P, S.  A real short-axis stack is oblique."""
    direction = np.array([-spacing, -spacing, gap])
    affine = np.diag([*direction, 1.0])
    affine[:3, 3] = -direction * (np.array(shape) - 1) / 2 + 0.0
    return affine


def make_heart_case(seed: int, index: int, settings: HeartSettings = HeartSettings()) -> Case:
    """The same study as :func:`make_heart`, as the `Case` that loading its files would give (labels internal)."""
    from dmaf_lite.data.case import Case
    from dmaf_lite.spec import MYOPS

    heart = make_heart(seed, index, settings)
    label = np.zeros(heart["gd"].shape, np.uint8)
    for name, value in LABELS.items():
        label[heart["gd"] == value] = MYOPS.classes.index(name)
    return Case(name=heart_name(index), images={m: heart[m].astype(np.float32) for m in MODALITIES}, label=label,
                affine=heart["affine"], spacing=tuple(float(s) for s in np.abs(np.diag(heart["affine"])[:3])))


def heart_name(index: int) -> str:
    """``HeartPhantom_007``"""
    return f"HeartPhantom_{index:03d}"
