"""DMAF-lite: learn and reproduce medical image segmentation with missing modalities, lesson by lesson.

The lessons are in ``notebooks/``; this package is what they build.  Importing it loads nothing heavy.
"""

__version__ = "0.1.0"
