"""X from file to batch: values, and that it stays with the image, by content."""

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS, DefaultScope

import kd_methods  # noqa: F401
from kd_methods.rgbx import LoadXFromFile, PackRGBXInputs, PadRGBX
from kd_methods.rgbx.loading import MEASURED


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def write(path, array):
    if path.suffix == '.npy':
        np.save(path, array)
    else:
        assert cv2.imwrite(str(path), array[..., ::-1] if array.ndim == 3 else array)
    return str(path)


def load(path, size=None, **options):
    image = np.zeros((*(size or (4, 6)), 3), np.uint8)
    return LoadXFromFile(**options).transform(dict(img=image, x_path=path, img_path='image.png'))


DEPTH = np.arange(24, dtype=np.uint16).reshape(4, 6) * 1000


@pytest.mark.parametrize(
    'name, array',
    [('a.png', DEPTH), ('a.npy', DEPTH), ('b.npy', DEPTH.astype(np.float64)), ('c.npy', DEPTH[..., None])],
)
def test_depth_in_millimetres_with_holes(tmp_path, name, array):
    results = load(write(tmp_path / name, array), scale=1e-3)
    np.testing.assert_allclose(results['x'], np.arange(24.0).reshape(4, 6), rtol=1e-6)
    assert results['x'].dtype == np.float32
    assert (results['x_valid'] == MEASURED).tolist() == (DEPTH > 0).tolist()
    assert results['seg_fields'] == ['x', 'x_valid']


def test_inverse_and_clip(tmp_path):
    results = load(write(tmp_path / 'a.png', DEPTH), scale=1e-3, inverse=True, clip=(0.1, 0.5))
    expected = np.clip(1 / np.maximum(np.arange(24.0), 1e-9), 0.1, 0.5).reshape(4, 6)
    np.testing.assert_allclose(results['x'][DEPTH > 0], expected[DEPTH > 0], rtol=1e-6)
    assert np.isfinite(results['x']).all() and results['x_valid'][0, 0] == 0


def test_disparity_of_cityscapes(tmp_path):
    raw = np.array([[0, 1, 257], [2561, 32257, 0]], np.uint16)
    results = load(write(tmp_path / 'a.png', raw), (2, 3), scale=1 / 256, offset=-1 / 256)
    valid = raw > 0
    np.testing.assert_allclose(results['x'][valid], [0, 1, 10, 126], rtol=1e-6)  # (p - 1) / 256
    assert ((results['x_valid'] == MEASURED) == valid).all()


def test_nan_and_infinity_are_holes(tmp_path):
    array = np.array([[1.0, np.nan], [np.inf, 0.0]], np.float32)
    path = write(tmp_path / 'a.npy', array)
    assert (load(path, (2, 2))['x_valid'] == MEASURED).tolist() == [[True, False], [False, False]]
    results = load(path, (2, 2), invalid=None)
    assert (results['x_valid'] == MEASURED).tolist() == [[True, False], [False, True]] and np.isfinite(
        results['x']
    ).all()


def test_what_the_formula_makes_infinite_is_a_hole(tmp_path):
    path = write(tmp_path / 'a.npy', np.array([[1e-41, 2.0], [-3.0, 4.0]], np.float32))
    results = load(path, (2, 2), inverse=True)
    assert (results['x_valid'] == MEASURED).tolist() == [[False, True], [False, True]] and np.isfinite(
        results['x']
    ).all()
    results = load(path, (2, 2), scale=3e38)
    assert (results['x_valid'] == MEASURED).tolist() == [[True, False], [False, False]] and np.isfinite(
        results['x']
    ).all()


def test_three_channels_come_in_the_order_of_the_file(tmp_path):
    normals = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    options = dict(channels=3, scale=2 / 255, offset=-1, invalid=None)
    for name in ('a.png', 'a.npy'):
        results = load(write(tmp_path / name, normals), **options)
        np.testing.assert_allclose(results['x'], normals / 127.5 - 1, atol=1e-6)
        assert results['x_valid'].all()


def test_a_pixel_of_several_channels_is_a_hole_where_all_are(tmp_path):
    array = np.ones((4, 6, 3), np.uint8)
    array[0, 0], array[1, 1] = 0, (0, 5, 0)
    valid = load(write(tmp_path / 'a.png', array), channels=3)['x_valid'] == MEASURED
    assert not valid[0, 0] and valid.sum() == 23


def test_mistakes_are_named(tmp_path):
    path = write(tmp_path / 'a.png', DEPTH)
    with pytest.raises(FileNotFoundError, match="no file '.*gone.png' .x_path."):
        load(str(tmp_path / 'gone.png'))
    with pytest.raises(
        ValueError, match=r'a.png is 4 x 6, its image image.png 6 x 4 .*right after LoadImageFromFile'
    ):
        load(path, (6, 4))
    with pytest.raises(ValueError, match='a.png has 1 channels, channels=3'):
        load(path, channels=3)
    with pytest.raises(KeyError, match='data_prefix.x_path'):
        LoadXFromFile().transform(dict(img=np.zeros((4, 6, 3))))
    for name, content in (('bad.png', b'no image'), ('bad.npy', b'no array'), ('empty.png', b'')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f'{name} cannot be read'):
            load(str(tmp_path / name))
    with pytest.raises(KeyError, match='no image. Put LoadImageFromFile before it'):
        LoadXFromFile().transform(dict(x_path=path))
    with pytest.raises(KeyError, match='no X. Put LoadXFromFile'):
        PackRGBXInputs().transform(dict(img=np.zeros((4, 6, 3), np.uint8)))


@pytest.mark.parametrize(
    'cfg, text',
    [
        (dict(channels=0), 'channels=0 must be 1 or more'),
        (dict(normals=True), 'normals=True needs channels=3'),
        (dict(scale=0), 'scale=0'),
        (dict(clip=(2, 1)), r'clip must be \(smallest, largest\)'),
        (dict(clip=(2,)), 'clip must be'),
    ],
    ids=str,
)
def test_wrong_options_are_named(cfg, text):
    with pytest.raises(ValueError, match=text):
        LoadXFromFile(**cfg)


# ---- the way through a pipeline
# --------------------------------------------------------------------------------------------- Both carry
# their own place: blue is the column, green the row, and X is 1 + 100 row + column. So each pixel of a result
# says from where its image and its X came.
HEIGHT, WIDTH = 40, 56
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]

GEOMETRY = {
    'flip': [dict(type='RandomFlip', prob=1.0)],
    'flip-vertical': [dict(type='RandomFlip', prob=1.0, direction='vertical')],
    'crop': [dict(type='RandomCrop', crop_size=(17, 23))],
    'pad': [dict(type='PadRGBX', size=(50, 60))],
    'pad-then-flip-then-crop': [
        dict(type='PadRGBX', size=(64, 64)),
        dict(type='RandomFlip', prob=1.0),
        dict(type='RandomCrop', crop_size=(48, 48)),
    ],
    'resize': [dict(type='Resize', scale=(2 * WIDTH, 2 * HEIGHT), keep_ratio=False)],
    'random-resize-crop-flip': [
        dict(type='RandomResize', scale=(112, 80), ratio_range=(0.8, 2.0), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(32, 32)),
        dict(type='RandomFlip', prob=0.5),
    ],
    'rotate': [dict(type='RandomRotate', prob=1.0, degree=(90, 90), pad_val=0, seg_pad_val=255)],
}


def run(tmp_path, steps, fill=-7.0, **load):
    image = np.stack([COLUMNS, ROWS, np.full_like(ROWS, 200)], 2).astype(np.uint8)
    path = write(tmp_path / 'x.png', (1 + 100 * ROWS + COLUMNS).astype(np.uint16))
    results = dict(
        img=image,
        x_path=path,
        img_path='image.png',
        seg_fields=['gt_seg_map'],
        ori_shape=image.shape[:2],
        img_shape=image.shape[:2],
        gt_seg_map=ROWS.astype(np.uint8),
        reduce_zero_label=False,
    )
    for step in [dict(type='LoadXFromFile', **load), *steps, dict(type='PackRGBXInputs', fill=fill)]:
        results = TRANSFORMS.build(step)(results)
    return results['inputs'].numpy(), results['data_samples']


@pytest.mark.parametrize('name', GEOMETRY)
def test_x_travels_with_the_image(tmp_path, name):
    for seed in range(4):
        np.random.seed(seed)
        inputs, sample = run(tmp_path, GEOMETRY[name])
        assert inputs.dtype == np.float32 and inputs.shape[0] == 4
        column, row, marker, x = inputs
        there = (x != -7.0) & (marker == 200)
        assert there.mean() > 0.3
        expected = 1 + 100 * np.round(row) + np.round(column)
        if 'resize' in name:  # the image is interpolated, X is not: they agree to a pixel
            y_x, x_x = np.divmod(x - 1, 100)
            assert (abs(y_x - row)[there] <= 1).all() and (abs(x_x - column)[there] <= 1).all()
        else:
            np.testing.assert_array_equal(x[there], expected[there])
        label = sample.gt_sem_seg.data[0].numpy()
        np.testing.assert_array_equal((x[there] - 1) // 100, label[there])
        # and beyond the image there is only the fill value
        assert (x[marker == 0] == -7.0).all()
        if 'pad' in name or name == 'rotate':
            assert (marker == 0).any()


def test_what_is_tested_can_fail(tmp_path):
    """The same content with X left behind by a flip does not pass."""
    inputs, _ = run(tmp_path, [dict(type='RandomFlip', prob=1.0)])
    column, row, _, x = inputs
    assert (x[:, ::-1] != 1 + 100 * row + column).mean() > 0.9


def test_colours_change_the_image_alone(tmp_path):
    np.random.seed(1)
    inputs, _ = run(tmp_path, [dict(type='PhotoMetricDistortion')])
    np.testing.assert_array_equal(inputs[3], 1 + 100 * ROWS + COLUMNS)
    assert (inputs[0] != COLUMNS).mean() > 0.5


def test_holes_get_the_fill_value(tmp_path):
    inputs, _ = run(tmp_path, [], invalid=1, scale=2.0)
    assert inputs[3][0, 0] == -7.0 and inputs[3][0, 1] == 4.0


@pytest.mark.parametrize(
    'step',
    [
        dict(type='RandomRotate', prob=1.0, degree=(45, 45), seg_pad_val=1),
        dict(type='RandomCutOut', prob=1.0, n_holes=20, cutout_shape=(9, 9), seg_fill_in=1),
    ],
    ids=str,
)
def test_what_a_transform_fills_in_is_no_measurement(tmp_path, step):
    inputs, _ = run(tmp_path, [step], invalid=None)
    measured = inputs[3][inputs[3] != -7.0]
    assert len(measured) < ROWS.size and (measured == 1).sum() <= 1  # X is 1 in one corner only


def test_a_mirrored_normal_points_the_other_way(tmp_path):
    normals = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    path = write(tmp_path / 'n.png', normals)
    vectors = normals / 127.5 - 1
    for direction, axis, sign in (
        ('horizontal', 1, (-1, 1, 1)),
        ('vertical', 0, (1, -1, 1)),
        ('diagonal', (0, 1), (-1, -1, 1)),
    ):
        results = dict(img=np.zeros((4, 6, 3), np.uint8), x_path=path, img_shape=(4, 6), ori_shape=(4, 6))
        for step in (
            dict(type='LoadXFromFile', channels=3, scale=2 / 255, offset=-1, invalid=None, normals=True),
            dict(type='RandomFlip', prob=1.0, direction=direction),
            dict(type='PackRGBXInputs'),
        ):
            results = TRANSFORMS.build(step)(results)
        expected = np.flip(vectors, axis) * sign
        np.testing.assert_allclose(results['inputs'][3:].permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_an_image_changed_alone_is_refused(tmp_path):
    with pytest.raises(ValueError, match='X is 40 x 56, the image 60 x 56 .*PadRGBX for Pad'):
        run(tmp_path, [dict(type='Pad', size=(50, 60))])


def test_pad_keeps_three_channels():
    x = np.ones((2, 3, 3), np.float32)
    results = dict(img=np.ones((2, 3, 3), np.uint8), x=x, x_valid=np.ones((2, 3), np.uint8))
    with pytest.raises(
        ValueError, match='PadRGBX: X is 2 x 3, the image 4 x 3'
    ):  # else padding would hide it
        PadRGBX(size=(9, 9)).transform(dict(results, img=np.ones((4, 3, 3), np.uint8)))
    out = PadRGBX(size=(5, 4)).transform(results)  # width, height
    assert out['x'].shape == (4, 5, 3) and (out['x_valid'] > 0).sum() == 6 and out['x'].sum() == 18
