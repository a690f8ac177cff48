"""Explorers: scans, subsets and trainings under the hand.  They need no network, and no WebGL.

Each is an ordinary widget: show it as the last line of a cell.  Each also carries a picture of its present
state, so that a saved notebook and an HTML page show it without a kernel; `figure()` gives that picture.

    study = phantom_study(seed=0)                       # or cohort_study(cohort, name), folder_study(folder)
    VolumeExplorer(study)
    ModalityExplorer(study, load_weights(shipped()))
    TrainingExplorer("runs/mine")
    export_page(study, load_weights(shipped()), "study.html")   # one file that needs no Python

Taught in lesson 10.
"""

from importlib import import_module
from typing import Any

_WHERE = {
    "Answer": "answers", "predictor": "answers", "ModalityExplorer": "modality_explorer",
    "TrainingExplorer": "training_explorer", "VolumeExplorer": "volume_explorer", "Study": "sources",
    "cohort_study": "sources", "folder_study": "sources", "on_grid_of": "sources", "phantom_study": "sources",
    "export_page": "export",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    """Import a part when it is first asked for: the application's server takes the page's code, and no torch."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
