"""One sample, read wholly: what is found in damaged and in odd files."""

import io

import numpy as np
import pytest
from PIL import Image
from raw_segmentation import label_map, put

from kd_methods.data_check.scan import Sample, ScanBudget, scan


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)


def kinds(*files: str, **options) -> list[tuple[str, str]]:
    """(kind, what was found) of each problem."""
    return [(kind, what) for kind, _, what in scan(Sample(*files), **options).problems]


def encoded(array, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, **options)
    return file.getvalue()


@pytest.mark.parametrize('quick', [False, True])
def test_every_changed_byte_of_a_png_is_found(quick, noise, tmp_path):
    """Of the head and the image; decoders take some of them."""
    path = tmp_path / 'a.png'
    for content in (encoded(noise, format='PNG'), encoded(label_map(), format='PNG')):
        for place in range(8, len(content) - 12, 7):
            changed = bytearray(content)
            changed[place] ^= 1 << place % 8
            path.write_bytes(changed)
            assert [kind for kind, _ in kinds(str(path), quick=quick)] == ['image'], place


@pytest.mark.parametrize(
    'make, found',
    [
        (lambda content: b'', 'the file is empty'),
        (lambda content: b'no image at all', 'no image'),
        (lambda content: content[:-5], 'broken PNG file'),
        (lambda content: content[: len(content) // 2], 'runcated'),
        (lambda content: content[:200] + bytes(50) + content[250:], 'broken PNG file'),
        (None, 'No such file'),
    ],
    ids=['empty', 'text', 'no end', 'cut', 'zeros', 'missing'],
)
@pytest.mark.parametrize('quick', [False, True])
def test_images_that_cannot_be_read(make, found, quick, noise, tmp_path):
    path = tmp_path / 'a.png'
    if make:
        path.write_bytes(make(encoded(noise, format='PNG')))
    ((kind, what),) = kinds(str(path), quick=quick)
    assert kind == 'image' and found in what


@pytest.mark.parametrize('quick', [False, True])
def test_a_jpeg_that_was_cut(quick, noise, tmp_path):
    content = encoded(noise, format='JPEG')
    (tmp_path / 'a.jpg').write_bytes(content[:-10])
    ((kind, what),) = kinds(str(tmp_path / 'a.jpg'), quick=quick)
    assert kind == 'image' and 'truncated' in what
    (tmp_path / 'a.jpg').write_bytes(content)
    assert kinds(str(tmp_path / 'a.jpg'), quick=quick) == []


def test_a_format_that_only_opencv_reads(tmp_path):
    import cv2

    path = tmp_path / 'a.hdr'
    cv2.imwrite(str(path), np.ones((5, 7, 3), np.float32))
    seen = scan(Sample(str(path)))
    assert seen.size == (5, 7) and seen.problems == []


@pytest.mark.parametrize('kind', ['jpg', 'png'])
def test_no_size_is_given_of_an_image_that_is_to_be_turned(kind, tmp_path):
    """Loaders turn it or not, as they are told."""
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = put(tmp_path / f'{orientation}.{kind}', np.zeros((10, 20, 3), np.uint8), exif=exif)
        seen = scan(Sample(str(path)))
        assert seen.problems == [] and seen.size == ((10, 20) if orientation < 5 else None)


def test_images_of_any_size_are_no_problem(monkeypatch, tmp_path):
    """PIL refuses images of many pixels, OpenCV does not: that reads images and X, PIL the labels."""
    from mmcv.transforms import LoadImageFromFile
    from mmseg.datasets.transforms import LoadAnnotations

    image = str(put(tmp_path / 'a.png', np.zeros((16, 24, 3), np.uint8)))
    label = str(put(tmp_path / 'b.png', label_map()))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    assert LoadImageFromFile().transform(dict(img_path=image))['img'].shape == (16, 24, 3)
    with pytest.raises(Image.DecompressionBombError) as error:
        LoadAnnotations().transform(dict(seg_map_path=label, seg_fields=[], reduce_zero_label=False))
    assert scan(Sample(image, label, image)).problems == [('label', label, str(error.value))]


@pytest.mark.parametrize(
    'array, mode',
    [
        (label_map(), 'L'),
        (label_map(), 'P'),
        (label_map() == 1, '1'),
        (label_map().astype(np.uint16), 'I;16'),
        (label_map().astype(np.float32), 'F'),
    ],
    ids=['grey', 'palette', 'bit', '16 bit', 'float'],
)
def test_values_are_those_that_the_loader_gives(array, mode, tmp_path):
    from mmseg.datasets.transforms import LoadAnnotations

    image = Image.fromarray(array)
    if mode == 'P':
        image.putpalette(list(range(255, -1, -1)) * 3)
    path = str(tmp_path / ('a.tif' if mode in 'IF' else 'a.png'))
    image.save(path)
    assert Image.open(path).mode == mode
    seen = scan(Sample(None, path))
    loaded = LoadAnnotations().transform(dict(seg_map_path=path, seg_fields=[], reduce_zero_label=False))
    assert seen.problems == []
    np.testing.assert_array_equal(seen.values, np.bincount(loaded['gt_seg_map'].ravel(), minlength=256))


@pytest.mark.parametrize(
    'array, kind, found',
    [
        (np.zeros((16, 24, 3), np.uint8), 'label colour', 'mode RGB'),
        (np.zeros((16, 24, 4), np.uint8), 'label colour', 'mode RGBA'),
        (np.full((16, 24), 300, np.uint16), 'label wide', 'uint16, such as 300'),
        (np.full((16, 24), 256, np.uint16), 'label wide', 'uint16, such as 256'),
        (np.zeros((16, 23), np.uint8), 'label size', '16 x 23, the image 16 x 24'),
        (np.zeros((32, 24), np.uint8), 'label larger', '32 x 24, the image 16 x 24'),
    ],
    ids=['rgb', 'rgba', '16 bit', 'one too many', 'size', 'larger'],
)
def test_label_files_that_are_no_label_maps(array, kind, found, noise, tmp_path):
    image, label = put(tmp_path / 'a.png', noise), put(tmp_path / 'b.png', array)
    assert kinds(str(image), str(label)) == [(kind, found)]


@pytest.mark.parametrize('value, found', [(0.5, '0.5'), (-1, '-1'), (np.nan, 'nan')])
@pytest.mark.filterwarnings('error')
def test_fractions_of_labels_are_not_what_the_loader_gives(value, found, tmp_path):
    array = label_map().astype(np.float32)
    array[3, 4] = value
    Image.fromarray(array).save(tmp_path / 'b.tif')
    assert kinds(None, str(tmp_path / 'b.tif')) == [('label wide', f'float32, such as {found}')]


def test_a_jpeg_under_the_name_of_a_png(tmp_path):
    put(tmp_path / 'b.png', np.zeros((16, 24), np.uint8), format='JPEG')
    assert kinds(None, str(tmp_path / 'b.png')) == [('label jpeg', '')]


def test_x_as_image_and_as_array(noise, tmp_path):
    image = str(put(tmp_path / 'a.png', noise))
    good = str(put(tmp_path / 'x.png', np.zeros((16, 24), np.uint16)))
    np.save(tmp_path / 'x.npy', np.zeros((16, 24, 3), np.float32))
    np.save(tmp_path / 'flat.npy', np.zeros(5))
    assert kinds(image, None, good) == kinds(image, None, str(tmp_path / 'x.npy')) == []
    small = str(put(tmp_path / 'y.png', np.zeros((8, 24), np.uint16)))
    assert kinds(image, None, small) == [('x size', '8 x 24, the image 16 x 24')]
    assert kinds(image, None, str(tmp_path / 'flat.npy')) == [('x', 'an array of 1 dimensions')]
    content = (tmp_path / 'x.npy').read_bytes()
    (tmp_path / 'x.npy').write_bytes(content[:-100])
    assert [kind for kind, _ in kinds(image, None, str(tmp_path / 'x.npy'))] == ['x']


def test_the_part_is_evenly_spaced():
    samples = list(range(101))
    assert ScanBudget(limit=5).choose(samples) == [0, 25, 50, 75, 100]
    assert ScanBudget(limit=200).choose(samples) == ScanBudget().choose(samples) == samples
    assert ScanBudget(limit=1).choose(samples) == [0]
