"""Pictures with far more texels than any view can show are halved in the cache: a worker holds them in memory.

How dense a picture lies on its scan is measured in texels per metre, what a view can show in pixels per metre. The
mean of four texels is taken as light, weighted by opacity, so that neither an edge nor a cut-out changes its look.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from synth.scans_colour import Picture, decode_picture

#: The closest view: the smallest region that a camera may frame, at twice the default picture's height and the
#: largest default fill.
_FRAME_PX, _FILL = 2048, 0.95
#: Halved while that brings the density nearer to one texel a pixel (as a ratio): no picture loses more than it can show
#: by this, and none keeps more than this. Atlases of bodies at 8k have 0.7 a pixel, heads at 8k 2.7.
_TOO_DENSE = np.sqrt(2)
#: Narrower pictures are never made: they cost nothing.
_LEAST_PX = 2048
#: Rows that are averaged at a time, for memory: a 16k picture is 1 GiB as it is.
_STRIP = 64
#: Weight of a texel that is not seen, of 255.
_HIDDEN = np.float32(0.01)
_JPEG_QUALITY = 95
#: Of 9: an 8k picture takes 10 seconds, not 40, and a tenth more room.
_PNG_EFFORT = 1


@dataclass(frozen=True, eq=False)
class Capped:
    """Pictures that fit what can be seen of them."""

    pictures: tuple[Picture | None, ...]
    """Per material, as they came or smaller."""
    changes: tuple[str, ...]


def cap_pictures(
    pictures: Sequence[Picture | None],
    corners: np.ndarray,
    uvs: np.ndarray | None,
    material: np.ndarray,
    regions: Mapping[str, Sequence[np.ndarray]],
) -> Capped:
    """Halves what is too dense for the closest of the regions (least, greatest x, y, z), as often as needed.

    pictures: per material. corners (T, 3, 3) metres, uvs (T, 3, 2), material (T,). One picture that several materials
    share stays one.
    """
    shown = max(_FRAME_PX * _FILL / max(float(high[2] - low[2]), 1e-6) for low, high in regions.values())
    capped: dict[bytes, Picture] = {}
    changes = []
    for picture in {p.data: p for p in pictures if p is not None and p.width // 2 >= _LEAST_PX}.values():
        of_picture = [i for i, p in enumerate(pictures) if p is not None and p.data == picture.data]
        uses = np.isin(material, of_picture)
        density = texel_density(corners[uses], uvs[uses], picture.width, picture.height)
        halvings = count_halvings(density / shown, picture.width)
        if halvings:
            smaller = halve_picture(picture, halvings)
            changes.append(
                f"texture of {picture.width} px made {smaller.width} px: it has {density:.0f} texels per metre, the "
                f"closest view shows {shown:.0f}"
            )
            capped[picture.data] = smaller
    return Capped(tuple(p and capped.get(p.data, p) for p in pictures), tuple(changes))


def texel_density(corners: np.ndarray, uvs: np.ndarray, width: int, height: int) -> float:
    """Texels per metre of a picture on triangles (T, 3, 3) metres with uvs (T, 3, 2): the median by area.

    The median, for a few corners with broken UVs can claim any area of the picture. 0 where there is no surface.
    """
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.linalg.norm(np.cross(edge1.astype(np.float64), edge2), axis=1) / 2
    du, dv = (uvs[:, 1] - uvs[:, 0]).astype(np.float64), (uvs[:, 2] - uvs[:, 0]).astype(np.float64)
    texels = np.abs(du[:, 0] * dv[:, 1] - du[:, 1] * dv[:, 0]) / 2 * width * height
    real = area > 0
    if not real.any():
        return 0.0
    squared, area = texels[real] / area[real], area[real]
    order = np.argsort(squared)
    reached = np.cumsum(area[order])
    return float(np.sqrt(squared[order[np.searchsorted(reached, reached[-1] / 2).clip(0, len(order) - 1)]]))


def count_halvings(texels_per_pixel: float, width: int) -> int:
    """How often a picture of a width is halved that has so many texels a pixel in the closest view."""
    count = 0
    while texels_per_pixel / 2**count > _TOO_DENSE and width // 2 ** (count + 1) >= _LEAST_PX:
        count += 1
    return count


def halve_picture(picture: Picture, times: int) -> Picture:
    """The picture at half its width and height, some times; in its own format."""
    image = decode_picture(picture.data)
    array = _halved(image)  # the large picture is let go before anything else is made
    del image
    for _ in range(times - 1):
        array = _halved(Image.fromarray(array))
    stream = io.BytesIO()
    if picture.suffix == ".jpg":
        Image.fromarray(array).save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    else:
        Image.fromarray(array).save(stream, "PNG", compress_level=_PNG_EFFORT)
    alpha = None if picture.alpha is None else np.ascontiguousarray(array[..., 3])
    height, width = array.shape[:2]
    return replace(picture, data=stream.getvalue(), width=width, height=height, alpha=alpha)


def _halved(image: Image.Image) -> np.ndarray:
    """Means of two by two texels of an RGB or RGBA, (h, w, 3 or 4) uint8; an odd last row or column is doubled."""
    width, height = image.size
    small = np.empty(((height + 1) // 2, (width + 1) // 2, len(image.getbands())), np.uint8)
    for top in range(0, height, _STRIP):
        bottom = min(top + _STRIP, height)
        strip = np.asarray(image.crop((0, top, width, bottom)))
        if strip.shape[0] % 2 or width % 2:
            strip = np.pad(strip, ((0, strip.shape[0] % 2), (0, width % 2), (0, 0)), mode="edge")
        small[top // 2 : (bottom + 1) // 2] = _mean_texels(strip)
    return small


def _mean_texels(strip: np.ndarray) -> np.ndarray:
    light = _LIGHT[strip[..., :3]]
    if strip.shape[2] == 3:
        return _CODES[(_mean_of_four(light) * _STEPS + 0.5).astype(np.uint16)]
    alpha = strip[..., 3:].astype(np.float32)
    share = np.maximum(alpha, _HIDDEN)  # where nothing is opaque colours count too: filters reach into them
    mean = _mean_of_four(light * share) / _mean_of_four(share)
    colour = _CODES[(np.minimum(mean, 1) * _STEPS + 0.5).astype(np.uint16)]
    return np.concatenate([colour, np.floor(_mean_of_four(alpha) + 0.5).astype(np.uint8)], axis=2)


def _mean_of_four(values: np.ndarray) -> np.ndarray:
    return (values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]) * np.float32(0.25)


def _light_of_codes(codes: np.ndarray) -> np.ndarray:
    """Linear light 0..1 of sRGB values 0..1."""
    return np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)


_LIGHT = _light_of_codes(np.arange(256) / 255).astype(np.float32)
#: Steps of light that are told apart: in the darkest part 20 to a code.
_STEPS = 65535
_CODES = np.searchsorted(_light_of_codes((np.arange(255) + 0.5) / 255), np.arange(_STEPS + 1) / _STEPS).astype(np.uint8)
