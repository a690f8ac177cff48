"""Step 3, signal: how bright each tissue is on bSSFP (C0), late enhancement (LGE) and T2; healthy bright tissue is 1.

C0 shows the anatomy and hardly any injury; LGE shows scar, which keeps the contrast agent, against a nulled wall; T2,
with black blood, shows swelling.  Source: spec myops, section 4.3.

Taught in the lesson on hearts.
"""

from __future__ import annotations

import numpy as np

from dmaf_lite.phantom.fields import Chance
from dmaf_lite.phantom.heart.infarct import Injury
from dmaf_lite.phantom.heart.shape import Chambers, Chest

TISSUES = ("air", "body", "fat", "muscle", "blood", "wall", "oedema", "scar", "core")
AIR, BODY, FAT, MUSCLE, BLOOD, WALL, OEDEMA, SCAR, CORE = range(len(TISSUES))
SIGNAL = {
    "C0": (0.05, 0.42, 0.90, 0.36, 1.00, 0.45, 0.50, 0.47, 0.46),
    "LGE": (0.04, 0.36, 0.62, 0.26, 0.62, 0.16, 0.21, 0.90, 0.22),
    "T2": (0.05, 0.42, 0.24, 0.38, 0.13, 0.46, 0.82, 0.76, 0.62),
}


def contrast(modality: str, chance: Chance) -> np.ndarray:
    """float32[9], the signal of each tissue in one case: 6 % up or down, and injuries more or less conspicuous."""
    rng = chance.rng(f"contrast {modality}")
    table = np.array(SIGNAL[modality]) * rng.normal(1, 0.06, len(TISSUES))
    table[[OEDEMA, SCAR]] = table[WALL] + (table[[OEDEMA, SCAR]] - table[WALL]) * rng.uniform(0.75, 1.10)
    return table.astype(np.float32)


def draw_tissues(chest: Chest, chambers: Chambers, injury: Injury) -> np.ndarray:
    """int8[n, n], an index into `TISSUES`; later masks cover earlier ones."""
    tissues = np.zeros(chest.body.shape, np.int8)
    blood = (chambers.lv & ~chambers.muscle) | chambers.rv | chest.aorta
    for tissue, mask in ((BODY, chest.body), (FAT, chest.skin_fat), (AIR, chest.lungs), (BODY, chest.liver),
                         (FAT, chambers.fat), (MUSCLE, chambers.rv_wall), (BLOOD, blood),
                         (WALL, chambers.ring | chambers.muscle), (OEDEMA, injury.oedema), (SCAR, injury.scar),
                         (CORE, injury.core)):
        tissues[mask] = tissue
    return tissues


def make_signal(table: np.ndarray, tissues: np.ndarray, patchy: np.ndarray) -> np.ndarray:
    """float32[n, n]: injured wall is patchy, its difference from healthy wall is multiplied by `patchy`."""
    excess = table - table[WALL]
    injured = (tissues == OEDEMA) | (tissues == SCAR)
    return table[tissues] + injured * (patchy - 1) * excess[tissues]
