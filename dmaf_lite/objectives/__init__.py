"""The paper's objective, term by term.  It knows no file and no loop; see `terms.Term`."""

from dmaf_lite.objectives.dmaf import DmafObjective, DmafSettings
from dmaf_lite.objectives.interface import Objective
from dmaf_lite.objectives.segmentation import PlainObjective, PlainSettings
from dmaf_lite.objectives.terms import Term, total

__all__ = ["DmafObjective", "DmafSettings", "Objective", "PlainObjective", "PlainSettings", "Term", "total"]
