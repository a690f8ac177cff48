"""Synthetic studies that stand in for patients: same files on disk as the real cohort, made from a seed.

brain.py is the recipe; fields.py (chance), anatomy.py, tumour.py, contrast.py and scanner.py are its
steps; realism.py measures how real it is.
"""

from dmaf_lite.phantom.brain import BrainSettings, make_brain, make_brain_case, write_brain_cohort
from dmaf_lite.phantom.realism import threshold_dice

__all__ = ["BrainSettings", "make_brain", "make_brain_case", "threshold_dice", "write_brain_cohort"]
