"""What the phantoms of a cohort have in common, and which of their ingredients are drawn anew for every case."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

# What can be drawn anew, in the order of the recipe; each is a switch for an ablation.
#   tumours      every size, kind and number           ventricles    wide and unequal, wide sulci
#   contrast     grey values inside each scan's role   conspicuity   a tumour may hardly show in one of the scans
#   imitators    vessels, dura, sinuses, white spots   stripping     rests outside the brain, brain cut away
#   scanner      gamma, slices, shading, noise, small misregistration
INGREDIENTS = ("tumours", "ventricles", "contrast", "conspicuity", "imitators", "stripping", "scanner")
# "mild" keeps the phantom's own contrast, tumours and scanner.
KINDS = {"off": (), "mild": ("ventricles", "imitators", "stripping"), "full": INGREDIENTS}
MILD_EVERY = 4  # of "mixed": every fourth case is mild, so that there is a third as many of them as of the others


@dataclass(frozen=True)
class BrainSettings:
    """What a phantom cohort has in common.

    Attributes:
        spacing: Voxel edge in mm.  3 is the lessons': 80 x 80 x 52 voxels, where a small network learns in
            minutes; 1 is BraTS's.
        without_enhancement: Share of cases whose tumour does not enhance (low grade), so that ET is
            empty; about one in six, as in BraTS2020.
        several_foci: Share of cases with satellites.
        metastases: Many small foci in place of one tumour, as cancers of other organs seed them; "mets" of the
            command line, which lets all of them enhance.
        wobble: How far the annotator's edges deviate from the true ones, in mm.
        randomise: "off"; "mild"; "full", everything is drawn anew (the two shares above are then set by the
            tumour's own ranges, and the annotator's hand is half as steady); "mixed", mostly full, every fourth mild.
        leave_out: Ingredients that are not drawn anew all the same, for ablations; see `INGREDIENTS`.
    """

    spacing: float = 3.0
    without_enhancement: float = 0.17
    several_foci: float = 0.2
    wobble: float = 0.6
    metastases: bool = False
    randomise: str = "off"
    leave_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0.5 <= self.spacing <= 6:
            raise ValueError(f"spacing is {self.spacing} mm; expected 0.5 to 6: above, a rim is thinner than a voxel")
        for name in ("without_enhancement", "several_foci"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a share between 0 and 1")
        if self.metastases and self.randomise != "off":
            raise ValueError(f"metastases are not drawn with randomise {self.randomise}; expected randomise off")
        if self.wobble < 0:
            raise ValueError(f"wobble is {self.wobble} mm; expected 0 or more")
        if self.randomise not in (*KINDS, "mixed"):
            raise ValueError(f"randomise is {self.randomise!r}; choose one of {', '.join(KINDS)}, mixed")
        unknown = set(self.leave_out) - set(INGREDIENTS)
        if unknown:
            raise ValueError(f"leave_out names {', '.join(sorted(unknown))}; choose among {', '.join(INGREDIENTS)}")
        if self.leave_out and self.randomise == "off":
            raise ValueError("leave_out is given, but nothing is drawn anew; set randomise too")

    def ingredients(self, index: int) -> frozenset[str]:
        """What is drawn anew in case `index`."""
        kind = self.randomise
        if kind == "mixed":
            kind = "mild" if index % MILD_EVERY == MILD_EVERY - 1 else "full"
        return frozenset(KINDS[kind]) - frozenset(self.leave_out)

    def describe(self) -> dict[str, Any]:
        """Everything that decides the bytes; without the switches of randomising where it is off."""
        plain = asdict(self)
        if self.randomise == "off":  # the description of a cohort that was made before there were these switches
            del plain["randomise"], plain["leave_out"]
        if not self.metastases:
            del plain["metastases"]
        return plain
