"""Grey values drawn anew for every scan, inside the order that gives the scan its role.

FLAIR: fluid dark, the tumour bright.  T2: fluid brightest, the tumour bright.  T1: white matter brightest, the tumour
darker than it.  T1ce: as T1, and the rim bright.  The ranges were read off real tissue: wide ones, set by guess, train
slowly and blur the classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmaf_lite.phantom.fields import Chance

HEALTHY = ("csf", "grey", "white")
TUMOUR = ("necrosis", "solid", "oedema", "enhancing")


def draw_contrast(modality: str, chance: Chance) -> dict[str, float]:
    """Mean signal of the tissues `HEALTHY` and `TUMOUR` in one scan, relative to bright tissue at about 1."""
    shared = modality in ("T1", "T1ce") and chance.rng("shared contrast").random() < 0.6  # one site, one sequence
    rng = chance.rng("contrast T1w" if shared else f"varied contrast {modality}")
    return {"FLAIR": _flair, "T2": _t2, "T1": _t1, "T1ce": _t1ce}[modality](rng)


def _flair(rng: np.random.Generator) -> dict[str, float]:
    u = rng.uniform
    white = u(0.5, 0.8)
    grey, csf = white * u(1.0, 1.38), white * u(0.15, 0.75)
    top = max(grey, white)
    oedema = top * u(1.22, 1.9)
    kind = rng.random()  # the core: fluid, something between, or as bright as the rest
    necrosis = csf * u(0.9, 1.4) if kind < 0.2 else u(csf, top) if kind < 0.4 else u(0.95 * top, 1.1 * oedema)
    return {"csf": csf, "grey": grey, "white": white, "necrosis": necrosis, "solid": top * u(1.2, 1.9),
            "oedema": oedema, "enhancing": top * u(1.1, 1.8)}


def _t2(rng: np.random.Generator) -> dict[str, float]:
    u = rng.uniform
    white = u(0.45, 0.7)
    grey = white * u(1.1, 1.5)
    csf = grey * u(1.6, 3.0)
    return {"csf": csf, "grey": grey, "white": white, "necrosis": u(1.3 * grey, csf), "solid": grey * u(1.2, 1.9),
            "oedema": grey * u(1.2, 1.7), "enhancing": grey * u(1.1, 1.7)}


def _t1(rng: np.random.Generator) -> dict[str, float]:
    """Tumour .1 to .35 of white matter below it: twice what blotches of healthy tissue reach (see signal.py)."""
    u = rng.uniform
    white = u(0.8, 1.0)
    grey = white * u(0.62, 0.95)
    csf = grey * u(0.3, 0.8)
    necrosis = u(0.9 * csf, (csf + grey) / 2) if rng.random() < 0.4 else max(white * u(0.55, 0.85), csf)
    return {"csf": csf, "grey": grey, "white": white, "necrosis": necrosis, "solid": white * u(0.64, 0.86),
            "oedema": white * u(0.66, 0.88), "enhancing": white * u(0.65, 0.90)}


def _t1ce(rng: np.random.Generator) -> dict[str, float]:
    values = _t1(rng)
    weak = rng.random() < 0.25
    bright = values["white"] * (rng.uniform(1.02, 1.3) if weak else rng.uniform(1.2, 2.1))
    return values | {"enhancing": max(bright, 1.2 * values["solid"])}


@dataclass(frozen=True)
class Conspicuity:
    """How much of the tumour's own contrast a scan shows: 1 all, 0 it looks like the tissue that was there.

    Attributes:
        core: Of necrosis and solid tumour.
        rim: Of enhancing tumour.
        oedema: Of oedema.
        fading: By how much less at the oedema's outer edge, where the tissue is hardly swollen.
    """

    core: float = 1.0
    rim: float = 1.0
    oedema: float = 1.0
    fading: float = 0.0

    @classmethod
    def draw(cls, modality: str, chance: Chance) -> Conspicuity:
        """Independent of the other scans, so that a network cannot let one of them veto what another shows.

        The scan that defines a label always shows it: FLAIR the oedema (at least 40 % of it), T1ce the rim.
        """
        rng = chance.rng(f"conspicuity {modality}")

        def share(full: float, least: float) -> float:
            return 1.0 if rng.random() < full else float(rng.uniform(least, 1))

        core, rim, oedema = {
            "FLAIR": (share(0.7, 0.2), share(0.7, 0.2), share(0.75, 0.4)),
            "T1ce": (share(0.8, 0.3), 1.0, share(0.5, 0.0)),
            "T1": (share(0.6, 0.0), share(0.6, 0.0), share(0.5, 0.0)),
            "T2": (share(0.6, 0.0), share(0.6, 0.0), share(0.6, 0.2)),
        }[modality]
        often, most = (0.4, 0.5) if modality == "FLAIR" else (0.6, 1.0)
        fading = float(rng.uniform(0, most)) if rng.random() < often else 0.0
        return cls(core=core, rim=rim, oedema=oedema, fading=fading)

    def maps(self, infiltration: np.ndarray) -> dict[str, np.ndarray | np.float32]:
        """Tissue of `TUMOUR` -> share of its contrast that shows; infiltration as in `Lesion`."""
        outer = 1 - np.clip((infiltration - 0.2) / 0.5, 0, 1)
        oedema = np.float32(self.oedema) * (1 - np.float32(self.fading) * outer)
        return {"necrosis": np.float32(self.core), "solid": np.float32(self.core), "oedema": oedema,
                "enhancing": np.float32(self.rim)}
