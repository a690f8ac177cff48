"""Explorers: scans, subsets and trainings under the hand.  They need no network and no WebGL (but for 3-D).

Each is an ordinary widget: show it as the last line of a cell.  Each also carries a picture of its present
state, so that a saved notebook and an HTML page show it without a kernel; `figure()` gives that picture.

    study = phantom_study(seed=0)                       # or cohort_study(cohort, name), folder_study(folder)
    VolumeExplorer(study)
    ModalityExplorer(study, load_weights(shipped()))
    TrainingExplorer("runs/mine")

Taught in lesson 10.
"""

from dmaf_lite.widgets.answers import Answer, predictor
from dmaf_lite.widgets.modality_explorer import ModalityExplorer
from dmaf_lite.widgets.sources import Study, cohort_study, folder_study, on_grid_of, phantom_study
from dmaf_lite.widgets.training_explorer import TrainingExplorer
from dmaf_lite.widgets.volume_explorer import VolumeExplorer

__all__ = ["Answer", "ModalityExplorer", "Study", "TrainingExplorer", "VolumeExplorer", "cohort_study", "folder_study",
           "on_grid_of", "phantom_study", "predictor"]
