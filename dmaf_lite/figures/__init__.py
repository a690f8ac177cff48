"""Static figures in one style.  Every function returns a closed figure: the last line of a cell shows it."""

from dmaf_lite.figures.draw_hero import hero_picture
from dmaf_lite.figures.explorers import class_colours, explored_planes, explored_subset, explored_training
from dmaf_lite.figures.map_of_effects import effect_map
from dmaf_lite.figures.peers import attention_picture, methods_heatmap
from dmaf_lite.figures.results import (
    availability_picture,
    interval_plot,
    modality_curves,
    reliability_picture,
    subset_heatmap,
    training_curves,
)
from dmaf_lite.figures.scores import own_cases_picture, score_picture, validation_picture
from dmaf_lite.figures.style import CLASS_COLOURS, MODALITY_COLOURS, REGION_COLOURS, WIDTH, figure, png, show, style
from dmaf_lite.figures.volumes import (
    class_legend,
    draw_slice,
    show_labels,
    show_maps,
    show_modalities,
    show_planes,
    show_regions,
)

__all__ = ["CLASS_COLOURS", "MODALITY_COLOURS", "REGION_COLOURS", "WIDTH", "attention_picture", "availability_picture",
           "class_colours", "class_legend", "draw_slice", "effect_map", "explored_planes", "explored_subset",
           "explored_training", "figure", "hero_picture", "interval_plot", "methods_heatmap", "modality_curves",
           "own_cases_picture", "png", "reliability_picture", "score_picture", "show", "show_labels", "show_maps",
           "show_modalities", "show_planes", "show_regions", "style", "subset_heatmap", "training_curves",
           "validation_picture"]
