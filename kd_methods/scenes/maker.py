"""Sign scenes: photographs with flat signs before them, each sign with a handwritten digit.

``make_scene`` draws one scene with the ground truth of every dense-prediction task: classes of pixels, boxes,
instance masks, depth.
"""

from dataclasses import dataclass

import numpy as np

from kd_methods.scenes.sources import SPLITS, Sources, check_split, load_sources

SIZE = 96  # default side of a scene, in pixels
DIFFICULTY = 0.5  # default: a student half as wide as its teacher learns it, but more slowly
SHAPES = ('disc', 'square', 'ellipse')
BACKGROUND_DEPTH = (30.0, 12.0)  # top and bottom of the scene, in metres
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
HIDDEN_INK = 0.06  # how much of its ink a camouflaged digit keeps
RELIEF = 0.25  # how far an embossed digit stands before its sign, as a share of the sign's distance


@dataclass(frozen=True)
class Scene:
    """One scene of N visible signs, nearest last."""

    image: np.ndarray  # RGB, H x W x 3 uint8
    label: np.ndarray  # 0 background, digit + 1 on the whole sign, H x W uint8
    boxes: np.ndarray  # x1, y1, x2, y2 around what is visible, ends exclusive, N x 4 float32
    classes: np.ndarray  # the digit on each sign, N int64 in [0, 10)
    instances: np.ndarray  # visible pixels of each sign, N x H x W bool, disjoint
    depth: np.ndarray  # metres from the viewer, H x W float32


@dataclass(frozen=True)
class Look:
    """How hard a scene is to read: the ranges that it is drawn from; ``look_of`` makes them of one number."""

    size: tuple  # smallest and largest sign, as a share of the scene's side
    count: tuple  # fewest and most signs
    rotation: float  # largest rotation to either side, in degrees
    contrast: tuple  # difference of brightness between ink and face
    textured: float  # share of signs with a photographed face, which hide in the background
    noise: float  # largest standard deviation of pixel noise
    shade: float  # largest change of light across the scene
    bars: float  # probability of a bar in front of the scene
    visible: float  # share of each sign that later signs must leave visible
    camouflage: float  # share of signs whose digit the image hardly shows; above 0, depth shows all digits


def look_of(difficulty: float, camouflage: float = 0.0) -> Look:
    """Turn a difficulty from 0 (easy) to 1 (hard) into the ranges a scene is drawn from."""
    for name, value in (('difficulty', difficulty), ('camouflage', camouflage)):
        if not 0 <= value <= 1:
            raise ValueError(f'{name}: got {value!r}, expected a number from 0 to 1')

    def mix(easy: float, hard: float) -> float:
        return easy + (hard - easy) * difficulty

    size, contrast = (mix(0.36, 0.20), mix(0.52, 0.46)), (mix(0.6, 0.25), mix(0.8, 0.6))
    light = dict(noise=mix(0.01, 0.09), shade=mix(0.1, 0.5), bars=mix(0.0, 0.6), visible=mix(0.9, 0.5))
    face = dict(rotation=mix(5, 35), contrast=contrast, textured=mix(0.1, 0.7), camouflage=camouflage)
    return Look(size, (2, 3 if difficulty < 0.5 else 4), **face, **light)


def _neighbours(at: np.ndarray, length: int) -> tuple:
    """Left neighbour of each position on an axis, and the right neighbour's weight."""
    at = np.clip(at, 0, length - 1.001).astype(np.float32)
    left = at.astype(np.int64)
    return left, at - left


def _photo_patch(rng: np.random.Generator, sources: Sources, size: int) -> np.ndarray:
    """A random square of a random photograph, mirrored half of the time, size x size x 3."""
    photo = sources.photos[rng.integers(len(sources.photos))]
    height, width = photo.shape[:2]
    side = rng.uniform(0.4, 0.95) * min(height, width)
    left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
    steps = (np.arange(size, dtype=np.float32) + 0.5) * (side / size) - 0.5
    columns = steps[::-1] if rng.random() < 0.5 else steps
    # Linear interpolation of rows, then of columns: a third of the cost of a look-up by pixel.
    x0, fx = _neighbours(left + columns, width)
    y0, fy = _neighbours(top + steps, height)
    photo = photo[y0] * (1 - fy)[:, None, None] + photo[y0 + 1] * fy[:, None, None]
    return photo[:, x0] * (1 - fx)[:, None] + photo[:, x0 + 1] * fx[:, None]


def _ink_colour(rng: np.random.Generator, face_luma: float, contrast: float) -> np.ndarray:
    """A colour whose brightness lies ``contrast`` away from the face's, on the roomier side."""
    target = face_luma - contrast if face_luma > 0.5 else face_luma + contrast
    colour = rng.uniform(0, 1, 3).astype(np.float32)
    return np.clip(colour * 0.2 + (target - 0.2 * float(colour @ LUMA)), 0, 1)


def _paint(canvas: np.ndarray, alpha: np.ndarray, colour: np.ndarray) -> None:
    """Blend a colour (3, or H x W x 3) into a canvas H x W x 3, in place, with the weights alpha (H x W)."""
    canvas += alpha[..., None] * (colour - canvas)


class _Frame:
    """A rotated, scaled coordinate frame: u, v are -1..1 across the sign."""

    def __init__(self, size: int, centre: tuple, half: tuple, angle: float) -> None:
        y, x = np.mgrid[:size, :size].astype(np.float32)
        x, y = x - centre[0], y - centre[1]
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        self.half = half
        self.u = (cos * x + sin * y) / half[0]
        self.v = (cos * y - sin * x) / half[1]

    def coverage(self, shape: str) -> np.ndarray:
        """Share of each pixel that a shape covers, with a soft edge one pixel wide."""
        if shape == 'square':
            inside = np.minimum((1 - abs(self.u)) * self.half[0], (1 - abs(self.v)) * self.half[1])
        else:
            inside = (1 - np.sqrt(self.u**2 + self.v**2)) * min(self.half)
        return np.clip(inside + 0.5, 0, 1)

    def glyph(self, image: np.ndarray, reach: float) -> np.ndarray:
        """Ink of a digit that fills ``reach`` of the sign."""
        inside = (abs(self.u) <= reach) & (abs(self.v) <= reach)
        side = len(image)
        x0, fx = _neighbours((self.u[inside] / reach + 1) * (side / 2) - 0.5, side)
        y0, fy = _neighbours((self.v[inside] / reach + 1) * (side / 2) - 0.5, side)
        # Bilinear interpolation at each pixel of the sign.
        top = image[y0, x0] * (1 - fx) + image[y0, x0 + 1] * fx
        bottom = image[y0 + 1, x0] * (1 - fx) + image[y0 + 1, x0 + 1] * fx
        ink = np.zeros(inside.shape, np.float32)
        ink[inside] = top * (1 - fy) + bottom * fy
        return ink


def _draw_frame(rng: np.random.Generator, look: Look, size: int) -> tuple:
    """Shape and frame of a sign somewhere in the scene, and its diameter in pixels."""
    shape = SHAPES[rng.integers(len(SHAPES))]
    diameter = rng.uniform(*look.size) * size
    # A square of the same area as the disc, so that no shape is the larger one.
    half = diameter / 2 * (0.886 if shape == 'square' else 1.0)
    squash = rng.uniform(0.7, 0.85) if shape == 'ellipse' else 1.0
    centre = rng.uniform(0.45 * diameter, size - 0.45 * diameter, 2)
    angle = np.deg2rad(rng.uniform(-look.rotation, look.rotation))
    return shape, _Frame(size, tuple(centre), (half * squash, half), angle), diameter


def _place(rng: np.random.Generator, look: Look, size: int) -> list:
    """Draw (mask, depth, shape, frame) of signs, farthest first, none hidden too much."""
    drawn = []
    for _ in range(rng.integers(look.count[0], look.count[1] + 1)):
        shape, frame, diameter = _draw_frame(rng, look, size)
        # Near things look large, but signs have no standard size: depth is a hint, not a rule.
        depth = 1.6 / (diameter / size) * rng.uniform(0.7, 1.4)
        drawn.append((frame.coverage(shape) >= 0.5, depth, shape, frame))
    drawn.sort(key=lambda sign: -sign[1])
    kept, covered = [], np.zeros((size, size), bool)
    for sign in reversed(drawn):  # from the nearest: what it hides does not change any more
        mask = sign[0]
        if (mask & ~covered).sum() >= max(look.visible * mask.sum(), 1):
            kept.append(sign)
            covered |= mask
    return kept[::-1]


def _paint_sign(
    rng: np.random.Generator, canvas: np.ndarray, sources: Sources, look: Look, shape: str, frame: _Frame
) -> tuple[int, np.ndarray]:
    """Paint a face and its digit; return the digit and where its strokes are."""
    index = rng.integers(len(sources.digits))
    contrast = rng.uniform(*look.contrast)
    alpha = frame.coverage(shape)
    if rng.random() < look.textured:
        face = _photo_patch(rng, sources, len(canvas))
        face_luma = float((face @ LUMA)[alpha >= 0.5].mean())
    else:
        face = rng.uniform(0.05, 0.95, 3).astype(np.float32)
        face_luma = float(face @ LUMA)
    _paint(canvas, alpha, face)
    ink = frame.glyph(sources.glyphs[index], reach=0.9) * alpha
    colour = _ink_colour(rng, face_luma, contrast)
    hidden = look.camouflage > 0 and rng.random() < look.camouflage
    _paint(canvas, ink * HIDDEN_INK if hidden else ink, colour)
    return int(sources.digits[index]), ink >= 0.5


def _light(rng: np.random.Generator, canvas: np.ndarray, look: Look) -> np.ndarray:
    """Exposure, a shade across the scene, a colour cast and noise; H x W x 3 uint8."""
    # canvas * gain (H x W) * cast (3) + noise (H x W x 3)
    size = len(canvas)
    direction = rng.uniform(0, 2 * np.pi)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    cos, sin = np.float32(np.cos(direction)), np.float32(np.sin(direction))
    across = cos * ramp[None] + sin * ramp[:, None]
    gain = rng.uniform(0.75, 1.1) * (1 + rng.uniform(0, look.shade) * across)
    cast = rng.uniform(0.92, 1.08, 3)
    noise = rng.standard_normal(canvas.shape, dtype=np.float32) * rng.uniform(0, look.noise)
    lit = canvas * gain[..., None] * cast + noise
    return np.clip(np.round(lit * 255), 0, 255).astype(np.uint8)


def make_scene(
    rng: np.random.Generator,
    sources: Sources,
    size: int = SIZE,
    difficulty: float = DIFFICULTY,
    camouflage: float = 0.0,
) -> Scene:
    """Draw one scene, as :func:`scene_at` does; every choice comes from ``rng``."""
    if size < 32:
        raise ValueError(f'size: got {size!r}, expected at least 32: smaller digits are unreadable')
    look = look_of(difficulty, camouflage)
    canvas = _photo_patch(rng, sources, size)
    column = np.linspace(*BACKGROUND_DEPTH, size, dtype=np.float32)
    depth = np.repeat(column[:, None], size, axis=1)
    owner = np.full((size, size), -1, np.int64)
    classes = []
    for i, (mask, metres, shape, frame) in enumerate(_place(rng, look, size)):
        digit, strokes = _paint_sign(rng, canvas, sources, look, shape, frame)
        classes.append(digit)
        owner[mask], depth[mask] = i, metres
        if look.camouflage > 0:
            depth[mask & strokes] = metres * (1 - RELIEF)
    if rng.random() < look.bars:
        angle, width = rng.uniform(-0.5, 0.5), rng.uniform(0.015, 0.04) * size
        bar = _Frame(size, (rng.uniform(0, size), size / 2), (width, 2 * size), angle)
        alpha = bar.coverage('square')
        _paint(canvas, alpha, rng.uniform(0, 1, 3).astype(np.float32))
        owner[alpha >= 0.5], depth[alpha >= 0.5] = -1, 0.8
    return _scene(_light(rng, canvas, look), owner, np.array(classes, np.int64), depth)


def _scene(image: np.ndarray, owner: np.ndarray, classes: np.ndarray, depth: np.ndarray) -> Scene:
    """A scene from the number of the sign at each pixel, H x W, -1 for none."""
    instances = owner[None] == np.arange(len(classes))[:, None, None]  # N x H x W
    seen = instances.any((1, 2))  # a bar can hide a small sign altogether
    instances, classes, boxes = instances[seen], classes[seen], []
    for mask in instances:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    label = np.zeros(owner.shape, np.uint8)
    for mask, digit in zip(instances, classes):
        label[mask] = digit + 1
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return Scene(image, label, boxes, classes, instances, depth)


def scene_at(
    seed: int,
    split: str,
    index: int,
    size: int = SIZE,
    difficulty: float = DIFFICULTY,
    camouflage: float = 0.0,
    sources: Sources | None = None,
) -> Scene:
    """Scene ``index`` of a split: a function of its arguments alone.

    Args:
        seed (int): Seed of the whole data set, not negative.
        split (str): ``'train'`` or ``'val'``.
        index (int): Which scene.
        size (int): Side in pixels. Defaults to 96.
        difficulty (float): From 0 (easy) to 1 (hard). Defaults to 0.5.
        camouflage (float): Share of signs whose digit shows in the depth but hardly in the image, from 0 to
            1. Defaults to 0.0, with flat signs.
        sources (Sources, optional): The split's raw material if already loaded.
    """
    entropy = [seed, SPLITS.index(check_split(split)), index]
    rng = np.random.default_rng(np.random.SeedSequence(entropy))
    return make_scene(rng, sources or load_sources(split), size, difficulty, camouflage)
