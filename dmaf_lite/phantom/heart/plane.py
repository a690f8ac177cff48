"""Where the pixels of a short-axis slice are, and smooth random fields on them; lengths in mm from the centre."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.interpolate import RectBivariateSpline

from dmaf_lite.phantom.fields import Chance

FIELD_OF_VIEW = 360.0  # mm; MyoPS 2020: about 480 pixels of 0.75 mm
# Mean deviation of a cubic spline through white noise (measured over 20 fields).
SPLINE_POWER = 0.87


@dataclass(frozen=True)
class PlaneGrid:
    """The square field of view of a slice.

    Attributes:
        spacing: Edge of a pixel in mm.
    """

    spacing: float

    @property
    def n(self) -> int:
        """Pixels per side."""
        return round(FIELD_OF_VIEW / self.spacing)

    @cached_property
    def axis(self) -> np.ndarray:
        """float32[n], the pixels' centres in mm."""
        return ((np.arange(self.n) - (self.n - 1) / 2) * self.spacing).astype(np.float32)

    @cached_property
    def mesh(self) -> tuple[np.ndarray, np.ndarray]:
        """x float32[n, 1] and y float32[1, n]: x grows to the patient's left, y to the back."""
        return self.axis[:, None], self.axis[None, :]

    def field(self, chance: Chance, name: str, wavelength: float) -> np.ndarray:
        """A smooth random field, zero mean and about unit deviation: the same at every spacing.

        Args:
            chance: Which case.
            name: Which field.
            wavelength: Size of its structures in mm; a pixel averages what is finer than itself.

        Returns:
            float32[n, n]
        """
        distance = wavelength / 2
        rng = chance.rng(name)
        count = int(np.ceil(FIELD_OF_VIEW / distance)) + 4
        knots = (np.arange(count) - (count - 1) / 2 + rng.uniform(-0.5, 0.5)) * distance
        values = RectBivariateSpline(knots, knots, rng.standard_normal((count, count)))(self.axis, self.axis)
        seen = np.exp(-2 * (self.spacing / wavelength) ** 2)
        return (values * seen / SPLINE_POWER).astype(np.float32)
