"""How far two samples of one recipe are apart: identical, equivalent within tolerances, or different.

Bytes are promised within an environment class. Across classes (another CPU kernel, a GPU) rounding differs: without
AVX2 a fifth of Cycles' colour values move by up to 2e-4 and depths by up to 0.004 mm, which moves single 8-bit steps.
"""

from dataclasses import dataclass

import numpy as np

from synth.sample import Sample

#: Least colour agreement of equivalent samples, dB: path tracers on other devices draw the same paths with other
#: rounding, and the default preset's own noise is at 43 dB.
LEAST_PSNR_DB = 40.0
#: Largest share of pixels in the frame whose subject may differ: those whose centre a silhouette touches.
MOST_MOVED = 1e-4
#: 99.9 % of common pixels must agree so far, millimetres per metre and degrees: twice what storing loses.
MOST_DEPTH_MM_PER_M = 0.04
MOST_NORMAL_DEG = 0.1
#: Largest difference of soft coverage that 99.9 % of the pixels may show, of 255.
MOST_ALPHA = 4


@dataclass(frozen=True)
class Comparison:
    """Figures of `b` against `a`, labels over the pixels that show the same subject."""

    identical: bool
    """All arrays are the same, value by value."""
    psnr_db: float
    """Of 8-bit colour; inf where equal."""
    alpha: float
    """99.9 % of coverage differences are at most this, of 255."""
    moved: int
    """Pixels that show another subject, or one in only one of the two."""
    pixels: int
    """Pixels of the frame."""
    depth_mm_per_m: float
    """99.9 % of depth differences are at most this, millimetres per metre of depth."""
    normal_deg: float
    """99.9 % of angles between normals are at most this."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What exceeds its tolerance, with the figure."""
        found = []
        if self.psnr_db < LEAST_PSNR_DB:
            found.append(f"colour {self.psnr_db:.1f} dB")
        if self.alpha > MOST_ALPHA:
            found.append(f"alpha {self.alpha:.0f} of 255")
        if self.moved > MOST_MOVED * self.pixels:
            found.append(f"{self.moved} mask pixels")
        if not self.depth_mm_per_m <= MOST_DEPTH_MM_PER_M:
            found.append(f"depth {self.depth_mm_per_m:.3f} mm per m")
        if not self.normal_deg <= MOST_NORMAL_DEG:
            found.append(f"normals {self.normal_deg:.3f} degrees")
        return tuple(found)

    @property
    def verdict(self) -> str:
        """IDENTICAL, EQUIVALENT or DIFFERENT."""
        if self.identical:
            return "IDENTICAL"
        return "DIFFERENT" if self.faults else "EQUIVALENT"

    @property
    def figures(self) -> str:
        """One line for people."""
        return (
            f"colour {self.psnr_db:.1f} dB, alpha {self.alpha:.0f}/255, mask {self.moved} px, "
            f"depth {self.depth_mm_per_m:.4f} mm/m, normals {self.normal_deg:.4f} deg"
        )


def compare_samples(a: Sample, b: Sample) -> Comparison:
    """Compares the pictures and labels of two samples. Raises ValueError when their sizes differ."""
    if a.instance.shape != b.instance.shape:
        raise ValueError(f"{a.instance.shape} pixels against {b.instance.shape}")
    common = (a.instance == b.instance) & a.mask
    depth = np.abs(a.depth_m[common].astype(np.float64) - b.depth_m[common]) / a.depth_m[common]
    return Comparison(
        identical=all(_same(getattr(a, name), getattr(b, name)) for name in _ARRAYS),
        psnr_db=psnr_db(a.rgb, b.rgb),
        alpha=_nearly_all(np.abs(a.alpha.astype(int) - b.alpha)),
        moved=int((a.instance != b.instance).sum()),
        pixels=a.instance.size,
        depth_mm_per_m=_nearly_all(depth * 1000),
        normal_deg=_nearly_all(angles_deg(a.normal[common], b.normal[common])),
    )


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal to noise ratio of two 8-bit pictures, dB; inf where equal."""
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return float(10 * np.log10(255.0**2 / error)) if error else float("inf")


def angles_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles between vectors (N, 3), degrees; by atan2, for arccos is blind to small ones."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), np.sum(a * b, axis=-1)))


_ARRAYS = ("rgb", "alpha", "instance", "depth_m", "normal", "albedo", "trust")


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and np.array_equal(a, b)


def _nearly_all(values: np.ndarray) -> float:
    """What 99.9 % of the values do not exceed; 0 where there are none."""
    return float(np.quantile(values, 0.999, method="higher")) if values.size else 0.0
