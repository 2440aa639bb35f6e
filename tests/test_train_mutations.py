"""Known mistakes, each made on purpose in labels that are right: every one must raise the error that is to catch it.

A closed-form ellipsoid goes through the reader's own code; the truth is the same ellipsoid cast again, through the lens
that the sample claims. Prints nothing: each mistake's error is compared with the error without it.
"""

from dataclasses import replace

import numpy as np
import pytest
from worlds import ball_sample, make_camera, make_recipe, unit_pose

torch = pytest.importorskip("torch", reason="no torch: scripts/setup --train")
from renderers.analytic import cast_ellipsoids  # noqa: E402
from synth.camera import Camera  # noqa: E402
from train.augment import Arrays, resample  # noqa: E402
from train.augment import _window as window  # noqa: E402
from train.batch import Batch, Buffers, write_arrays  # noqa: E402
from train.data import arrays_of  # noqa: E402
from train.metrics import align_depth, depth_error, normal_angles  # noqa: E402
from train.objective import Labels, losses_of  # noqa: E402

RADII, CENTRE = (0.3, 0.25, 0.5), (0, 0, 0.5)
SIZE = (96, 72)


@pytest.fixture(scope="module")
def cropped() -> tuple[Camera, Arrays]:
    """A crop off the centre, 1.5 picture pixels to one of its own."""
    camera = make_camera(width=240, height=320, focal_px=380.0)
    arrays = arrays_of(ball_sample(make_recipe(camera), CENTRE, RADII))
    return camera, resample(arrays, SIZE, window((130, 150), SIZE, 1.5, 0.0, False))


def batch_of(arrays: Arrays) -> Batch:
    batch = Buffers(1, SIZE).take()
    write_arrays(batch, 0, arrays, 0)
    return batch


def truth_of(camera: Camera, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """((H, W) depth, (H, W, 3) OpenGL normals) through the lens that the batch claims."""
    K = batch.K[0].double().numpy()
    claimed = Camera(
        width=SIZE[1], height=SIZE[0], focal_px=K[0, 0], center_px=(K[0, 2] + 0.5, K[1, 2] + 0.5),
        world_from_camera=camera.world_from_camera,
    )  # fmt: skip
    depth, _, normal = cast_ellipsoids(claimed, [unit_pose(CENTRE, RADII)])
    return depth, normal * [1, -1, -1]


def errors(camera: Camera, arrays: Arrays) -> dict[str, float]:
    """What evaluation and the pointmap's loss say of labels taken for predictions of the claimed view."""
    batch = batch_of(arrays)
    depth, normal = truth_of(camera, batch)
    mask = batch.mask[0, 0].numpy() & np.isfinite(depth)
    mask[1:-1, 1:-1] &= mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]  # not the outermost pixel
    said = batch.normal[0].float().permute(1, 2, 0).numpy()
    aligned = align_depth(batch.depth[0, 0].numpy(), np.where(mask, depth, 0), mask)
    labels = Labels(
        torch.from_numpy(mask)[None, None], torch.from_numpy(np.where(mask, depth, 0)).float()[None, None],
        torch.from_numpy(normal).float().permute(2, 0, 1)[None], torch.ones(1, 1, *SIZE), batch.K,
    )  # fmt: skip
    loss = losses_of("normal", "ours", batch.normal.float(), labels)["loss"]
    return {
        "normal_deg": float(np.mean(normal_angles(said, normal, mask))),
        "depth_mm": 1000 * depth_error(aligned, depth, mask).rmse_m,
        "loss": float(loss),
    }


def _shift(arrays: Arrays, by: float) -> Arrays:
    """Labels moved along rows and columns, the picture and K staying."""
    move = np.eye(3)
    move[:2, 2] = by
    moved = resample(arrays, SIZE, move)
    return replace(moved, rgb=arrays.rgb, alpha=arrays.alpha, K=arrays.K)


def _lens(arrays: Arrays, **entries: float) -> Arrays:
    K = arrays.K.clone()
    for name, value in entries.items():
        row = int(name[-1])
        K[row, 2 if name.startswith("c") else row] += value
    return replace(arrays, K=K)


def _axis(k: int):
    return lambda a: replace(a, normal=a.normal * torch.where(torch.arange(3) == k, -1.0, 1.0).view(3, 1, 1))


#: (the mistake, the figure that must see it, by what factor at least, and its least value).
MISTAKES = {
    "x of normals flipped": (_axis(0), "normal_deg", 20, 20),
    "y of normals flipped": (_axis(1), "normal_deg", 20, 20),
    "z of normals flipped": (_axis(2), "normal_deg", 20, 60),
    "x and y swapped": (lambda a: replace(a, normal=a.normal[[1, 0, 2]]), "normal_deg", 20, 20),
    "labels half a pixel beside": (lambda a: _shift(a, 0.5), "normal_deg", 3, 0.5),
    "labels half a pixel beside, in depth": (lambda a: _shift(a, 0.5), "depth_mm", 2, 1),
    "labels half a pixel beside, in the loss": (lambda a: _shift(a, 0.5), "loss", 2, 0.01),
    "K half a pixel beside": (lambda a: _lens(a, c0=0.5, c1=0.5), "normal_deg", 3, 0.5),
    "the crop forgot the principal point": (lambda a: _lens(a, c0=40 / 1.5), "normal_deg", 20, 20),
    "K of the picture before it was made smaller": (lambda a: _lens(a, f0=380 / 3, f1=380 / 3), "normal_deg", 20, 10),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_raises_the_error(cropped, mistake):
    camera, right = cropped
    spoil, figure, factor, least = MISTAKES[mistake]
    good, bad = errors(camera, right)[figure], errors(camera, spoil(right))[figure]
    assert bad > max(factor * good, least), f"{figure}: {good:.4f} right, {bad:.4f} wrong"


def test_what_is_right_has_no_error(cropped):
    found = errors(*cropped)
    assert found["normal_deg"] < 0.2 and found["depth_mm"] < 1 and found["loss"] < 0.02, found
