"""The synthetic brain: recipe.py draws it from anatomy, tumour, contrast and scanner; realism.py judges it."""

from dmaf_lite.phantom.brain.realism import threshold_dice
from dmaf_lite.phantom.brain.recipe import BrainSettings, make_brain, make_brain_case, write_brain_cohort

__all__ = ["BrainSettings", "make_brain", "make_brain_case", "threshold_dice", "write_brain_cohort"]
