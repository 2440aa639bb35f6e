"""Pictures in, maps out: a trained model as a function, whatever the pictures' sizes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from train.frame import Placement, place, restore
from train.model import normalise


@dataclass(frozen=True, eq=False)
class Maps:
    """What a model says of one picture of (H, W); what its task does not have is None."""

    depth: np.ndarray | None = None
    """(H, W) float32. Task depth: relative, unknown scale and shift. Task pointmap: metres, planar z."""
    normal: np.ndarray | None = None
    """(H, W, 3) float32 unit, OpenGL camera frame: x right, y up, z towards the camera."""
    points: np.ndarray | None = None
    """(H, W, 3) float32 metres, OpenCV camera frame. Task pointmap."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model with its task and the (H, W) of its frame."""

    model: nn.Module
    task: str
    size: tuple[int, int]
    device: torch.device
    half: bool = True

    def predict(self, pictures: Iterable[np.ndarray], batch: int) -> Iterator[Maps]:
        """Maps of (H, W, 3) uint8 sRGB pictures, in their order, at their sizes; several at once through the model."""
        held: list[tuple[Tensor, Placement]] = []
        for picture in pictures:
            held.append(place(picture, self.size))
            if len(held) == batch:
                yield from self._predict_batch(held)
                held = []
        if held:
            yield from self._predict_batch(held)

    def _predict_batch(self, held: list[tuple[Tensor, Placement]]) -> Iterator[Maps]:
        frames = torch.stack([frame for frame, _ in held]).to(self.device, non_blocking=True)
        prediction = self.forward(frames)
        for i, (_, where) in enumerate(held):
            if self.task == "pointmap":
                metres = restore(prediction[0][i] / prediction[1][i].clamp_min(1e-3), where, self.size)
                yield Maps(depth=np.ascontiguousarray(metres[..., 2]), points=metres)
            elif self.task == "depth":
                yield Maps(depth=restore(prediction[i], where, self.size)[..., 0])
            else:
                yield Maps(normal=unit(restore(prediction[i], where, self.size)))

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The head's answer in float32 to (B, 3, H, W) uint8 frames, in evaluation mode."""
        training = self.model.training
        self.model.eval()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            prediction = self.model(normalise(frames))
        self.model.train(training)
        if isinstance(prediction, tuple):
            return prediction[0].float(), prediction[1].float()
        return prediction.float()


def unit(normal: np.ndarray) -> np.ndarray:
    """(H, W, 3) vectors at unit length; zero stays zero."""
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return normal / np.where(length > 1e-6, length, np.inf)
