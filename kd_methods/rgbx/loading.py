"""Reading X from files and packing it with the image."""

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform, Pad
from mmengine import fileio
from mmengine.registry import TRANSFORMS
from mmseg.datasets.transforms import PackSegInputs

#: Results of a pipeline: X itself, and where it was measured.
X, VALID = 'x', 'x_valid'
#: Value of ``x_valid`` there; unlike what a transform may fill label maps with (0, 255, a class).
MEASURED = 254
#: Signs of the components of normals in a flipped image.
_FLIPPED = dict(horizontal=(-1, 1, 1), vertical=(1, -1, 1), diagonal=(-1, -1, 1))


@TRANSFORMS.register_module()
class LoadXFromFile(BaseTransform):
    r"""Load X (depth, disparity, surface normals, HHA, ...) of an image that has been loaded.

    A file holds raw values r: an image of 8 or 16 bit with 1 or 3 channels, or an array in ``.npy``. X is

    .. math:: x = s\, r + o, \qquad \text{or } 1 / (s\, r + o) \text{ with } \texttt{inverse=True}

    Pixels that were not measured (r is ``invalid`` or not finite) are holes; :class:`PackRGBXInputs` fills
    them. mmseg's resize, crop, flip and rotation move X as they move label maps, by nearest neighbour, so
    that no value is made up at an edge; transforms of colours do not touch it. :class:`RGBXDataset` refuses
    a pipeline with a transform that would move the image alone.

    ===================================  ====================================================================
    depth, 16-bit millimetres -> metres  ``scale=1e-3``
    depth -> inverse depth in 1/m        ``scale=1e-3, inverse=True``
    Cityscapes' disparity in pixels      ``scale=1 / 256, offset=-1 / 256``
    normals, 8 bit (0 to 255: -1 to 1)   ``channels=3, scale=2 / 255, offset=-1, invalid=None, normals=True``
    HHA, 8 bit                           ``channels=3, invalid=None``
    ===================================  ====================================================================

    Args:
        channels (int): Channels of X, in the order of the file (R, G, B of a PNG). Defaults to 1.
        scale (float): s. Defaults to 1.0.
        offset (float): o. Defaults to 0.0.
        invalid (float | None): Raw value of pixels that were not measured; of several channels, all have it.
            None: all were. Defaults to 0.
        inverse (bool): X is the inverse, where that is positive; elsewhere are holes. Defaults to False.
        clip (tuple[float, float], optional): Least and largest X, for values beyond. Defaults to None.
        normals (bool): X are vectors (right, down or up, towards the viewer): a mirrored image negates the
            first component, one turned upside down the second. Not with rotations or a second flip. Defaults
            to False.
        backend_args (dict | None): Of mmengine's file backend. Defaults to None.

    Required keys: ``img``, ``x_path``. Added: ``x``, ``x_valid`` (both in ``seg_fields``), ``x_normals``.

    Raises:
        KeyError: There is no ``x_path``, or no image yet.
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, or has another size than the image or another number of channels.
    """

    def __init__(
        self,
        channels: int = 1,
        scale: float = 1.0,
        offset: float = 0.0,
        invalid: float | None = 0,
        inverse: bool = False,
        clip: Sequence[float] | None = None,
        normals: bool = False,
        backend_args: dict | None = None,
    ) -> None:
        if channels < 1:
            raise ValueError(f'LoadXFromFile: channels={channels!r} must be 1 or more')
        if normals and channels != 3:
            raise ValueError(f'LoadXFromFile: normals=True needs channels=3. Got: channels={channels}')
        if scale == 0:
            raise ValueError('LoadXFromFile: scale=0 leaves nothing of X')
        if clip is not None and not (len(clip) == 2 and clip[0] < clip[1]):
            raise ValueError(f'LoadXFromFile: clip must be (smallest, largest). Got: {clip!r}')
        self.channels, self.backend_args = channels, backend_args
        self.scale, self.offset, self.invalid = scale, offset, invalid
        self.inverse, self.clip, self.normals = inverse, clip, normals

    def transform(self, results: dict) -> dict:
        """Add X and where it was measured."""
        path = results.get('x_path')
        if not path:
            known = 'NYUv2Dataset, CityscapesDisparityDataset, SceneDataset, one of your own with RGBXDataset'
            alone = 'run the pipeline on dict(img_path=..., x_path=...), then model.test_step on the result'
            cure = f'Set data_prefix.x_path of a data set with X ({known}). For an image by itself, {alone}'
            raise KeyError(f"LoadXFromFile: no 'x_path'. {cure}")
        if 'img' not in results:
            raise KeyError('LoadXFromFile: no image. Put LoadImageFromFile before it')
        raw = self._read(path)
        if raw.shape[:2] != results['img'].shape[:2]:
            sizes = f'{path} is {_size(raw)}, its image {results.get("img_path")} {_size(results["img"])}'
            cure = 'put LoadXFromFile right after LoadImageFromFile, and see that the two belong together'
            why = f'{sizes} (height x width). X is read in the size of the image file'
            raise ValueError(f'LoadXFromFile: {why}: {cure}')
        results[X], results[VALID] = self._decode(raw)
        results['x_normals'] = self.normals
        results.setdefault('seg_fields', []).extend([X, VALID])
        return results

    def _read(self, path: str) -> np.ndarray:
        """Raw values, H x W x channels."""
        if not fileio.exists(path, self.backend_args):
            raise FileNotFoundError(f'LoadXFromFile: no file {path!r} (x_path)')
        try:
            if str(path).endswith('.npy'):
                with fileio.get_local_path(path, backend_args=self.backend_args) as local:
                    raw = np.load(local)
            else:
                content = np.frombuffer(fileio.get(path, self.backend_args), np.uint8)
                raw = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
        except (ValueError, OSError, EOFError, cv2.error) as error:
            raise ValueError(f'LoadXFromFile: {path} cannot be read: {error}') from error
        if raw is None or raw.ndim not in (2, 3) or not raw.size:
            form = 'an image or array of height x width (x channels)'
            raise ValueError(f'LoadXFromFile: {path} cannot be read as {form}')
        raw = raw.reshape(*raw.shape[:2], -1)
        if raw.shape[2] != self.channels:
            expected = f'channels={self.channels} of them were expected'
            raise ValueError(f'LoadXFromFile: {path} has {raw.shape[2]} channels, {expected}')
        is_bgr = self.channels == 3 and not str(path).endswith('.npy')  # OpenCV reads blue first
        return raw[..., ::-1] if is_bgr else raw

    def _decode(self, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """X, H x W (x channels), and where it was measured, H x W; holes are 0 in both."""
        values = raw.astype(np.float32)  # H x W x channels
        valid = np.isfinite(values).all(2)
        if self.invalid is not None:
            valid &= (values != self.invalid).any(2)
        x = np.where(valid[..., None], values, 0) * np.float32(self.scale) + np.float32(self.offset)
        if self.inverse:
            valid &= (x > 0).all(2)
            with np.errstate(over='ignore'):
                x = 1 / np.where(valid[..., None], x, 1)
        finite = np.isfinite(x).all(2)  # what overflows becomes a hole too
        x, valid = np.where(finite[..., None], x, 0), valid & finite
        if self.clip is not None:
            x = np.clip(x, *self.clip)
        x = np.ascontiguousarray(x, np.float32)
        return x[..., 0] if self.channels == 1 else x, np.where(valid, MEASURED, 0).astype(np.uint8)

    def __repr__(self) -> str:
        names = ('channels', 'scale', 'offset', 'invalid', 'inverse', 'clip', 'normals')
        return f'{type(self).__name__}({", ".join(f"{name}={getattr(self, name)}" for name in names)})'


@TRANSFORMS.register_module()
class PadRGBX(Pad):
    """mmcv's ``Pad``, which pads only image and label map, for X too; what is added counts as a hole."""

    def transform(self, results: dict) -> dict:
        """Pad image, label map and X."""
        _check_together(results, 'PadRGBX')
        results = super().transform(results)
        height, width = results['img'].shape[:2]
        for name in (X, VALID):
            x = results[name]
            missing = [(0, height - x.shape[0]), (0, width - x.shape[1]), (0, 0)]
            results[name] = np.pad(x, missing[: x.ndim])
        return results


@TRANSFORMS.register_module()
class PackRGBXInputs(PackSegInputs):
    """mmseg's ``PackSegInputs``, with X behind the channels of the image.

    ``inputs`` is (3 + channels of X) x H x W, float32.

    Args:
        fill (float): Value of X at holes and where a transform (pad, rotation) went beyond it, in X's own
            unit. Of disparity and inverse depth, 0 is infinitely far; of depth it is at the camera, and X's
            mean is the neutral value. Defaults to 0.0.
        **kwargs: Arguments of ``PackSegInputs``.

    Raises:
        KeyError: No X has been loaded.
        ValueError: Image and X have different sizes.
    """

    def __init__(self, fill: float = 0.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.fill = fill

    def transform(self, results: dict) -> dict:
        """Join image and X, then pack."""
        _check_together(results, 'PackRGBXInputs')
        image, x = results['img'], results[X]
        x = x.reshape(*x.shape[:2], -1)
        valid = (results[VALID] == MEASURED)[..., None]
        if results['x_normals'] and results.get('flip'):
            x = x * np.array(_FLIPPED[results['flip_direction']], np.float32)
        x = np.where(valid, x, np.float32(self.fill))
        results = dict(results, img=np.concatenate([image.astype(np.float32), x], 2))
        return super().transform(results)


def _check_together(results: dict, name: str) -> None:
    """Raise unless there is an X of the image's size."""
    if X not in results:
        raise KeyError(f'{name}: no X. Put LoadXFromFile behind LoadImageFromFile')
    x, image = results[X], results['img']
    if x.shape[:2] != image.shape[:2]:
        sizes = f'X is {_size(x)}, the image {_size(image)} (height x width)'
        cure = 'Use transforms that change all of seg_fields, PadRGBX for Pad'
        raise ValueError(f'{name}: {sizes}: a transform of the pipeline changed the image and not X. {cure}')


def _size(image: np.ndarray) -> str:
    return f'{image.shape[0]} x {image.shape[1]}'
