"""One sample, read wholly: what is found in damaged and in odd files."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image
from raw_segmentation import label_map, put

from kd_methods.data_check.pipeline import Reading, reading_of
from kd_methods.data_check.scan import Sample, png_fault, scan
from kd_methods.datasets.entries import Leaf

READING = Reading(image=True, label=True, x=True)


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)


def kinds(*files: str, reading: Reading = READING, **options) -> list[tuple[str, str]]:
    """(kind, what was found) of each problem."""
    return [(kind, what) for kind, _, what in scan(Sample(*files), reading, **options).problems]


def encoded(array, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, **options)
    return file.getvalue()


def test_every_changed_byte_of_a_png_is_found(noise):
    """Of the head, the image and the end; text beside the image may be broken."""
    for content in (encoded(noise, format='PNG'), encoded(label_map(), format='PNG')):
        assert png_fault(content) is None
        for place in range(8, len(content)):
            changed = bytearray(content)
            changed[place] ^= 1 << place % 8
            assert png_fault(bytes(changed)) is not None, place


def test_every_cut_of_a_png_is_found(noise):
    content = encoded(noise, format='PNG')
    assert all(png_fault(content[:place]) == f'cut off at byte {place:,}' for place in range(8, len(content)))


def test_text_in_a_png_does_not_count(noise):
    content = encoded(noise, format='PNG')
    text = b'tEXt' + b'Comment\0x'
    chunk = len(text[4:]).to_bytes(4, 'big') + text
    for checksum in (zlib.crc32(text), 0):
        assert png_fault(content[:33] + chunk + checksum.to_bytes(4, 'big') + content[33:]) is None


@pytest.mark.parametrize(
    'make, found',
    [
        (lambda content: b'', 'the file is empty'),
        (lambda content: b'no image at all', 'no image'),
        (lambda content: content[:-1], 'cut off at byte'),
        (lambda content: content[:200] + bytes(50) + content[250:], 'damaged: wrong checksum'),
        (None, 'No such file'),
    ],
    ids=['empty', 'text', 'cut', 'zeros', 'missing'],
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


def test_pixels_are_decoded_unless_it_is_quick(noise, tmp_path):
    """A PNG with true checksums of a stream that is none: written so, not damaged on its way."""
    content = encoded(noise, format='PNG')
    start = content.index(b'IDAT')
    body = bytes(len(content) - start - 4 - 4 - 12)
    chunk = b'IDAT' + body
    (tmp_path / 'a.png').write_bytes(
        content[:start] + chunk + zlib.crc32(chunk).to_bytes(4, 'big') + content[-12:]
    )
    assert [kind for kind, _ in kinds(str(tmp_path / 'a.png'))] == ['image']
    assert kinds(str(tmp_path / 'a.png'), quick=True) == []


def test_a_format_that_only_opencv_reads(tmp_path):
    import cv2

    path = tmp_path / 'a.hdr'
    cv2.imwrite(str(path), np.ones((5, 7, 3), np.float32))
    seen = scan(Sample(str(path)), READING)
    assert seen.size == (5, 7) and seen.problems == []


@pytest.mark.parametrize('quick', [False, True])
@pytest.mark.parametrize(
    'colour', ['color', 'grayscale', 'unchanged', 'color_ignore_orientation', 'grayscale_ignore_orientation']
)
@pytest.mark.parametrize('kind', ['jpg', 'mpo', 'png', 'tif', 'webp'])
def test_the_size_is_that_which_the_loader_gives(kind, colour, quick, tmp_path):
    """Of the formats that can say how an image is turned, OpenCV does not ask all, and not always."""
    from mmcv.transforms import LoadImageFromFile

    step = dict(type='LoadImageFromFile', color_type=colour)
    reading = reading_of(Leaf('train_dataloader.dataset', 'train', {}, None, [step]), 'mmseg')
    second = Image.fromarray(np.zeros((10, 20, 3), np.uint8))
    more = (
        dict(save_all=True, append_images=[second]) if kind == 'mpo' else {}
    )  # of one picture it would be JPEG
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = str(
            put(tmp_path / f'{orientation}.{kind}', np.zeros((10, 20, 3), np.uint8), exif=exif, **more)
        )
        loaded = LoadImageFromFile(color_type=colour).transform(dict(img_path=path))
        seen = scan(Sample(path), reading, quick)
        assert seen.problems == [] and seen.size == loaded['img'].shape[:2], orientation


def test_images_of_any_size_are_read_as_the_loaders_read_them(monkeypatch, tmp_path):
    """PIL refuses images of many pixels, OpenCV does not: that reads images and X, PIL the labels."""
    from mmcv.transforms import LoadImageFromFile
    from mmseg.datasets.transforms import LoadAnnotations

    image, label = (
        str(put(tmp_path / 'a.png', np.zeros((16, 24, 3), np.uint8))),
        str(put(tmp_path / 'b.png', label_map())),
    )
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    assert LoadImageFromFile().transform(dict(img_path=image))['img'].shape == (16, 24, 3)
    with pytest.raises(Image.DecompressionBombError) as error:
        LoadAnnotations().transform(dict(seg_map_path=label, seg_fields=[], reduce_zero_label=False))
    seen = scan(Sample(image, label, image), READING)
    assert seen.size == (16, 24) and seen.problems == [('label', label, str(error.value))]
    (tmp_path / 'c.png').write_bytes(b'')
    assert kinds(str(tmp_path / 'c.png')) and Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize(
    'array, mode',
    [
        (label_map(), 'L'),
        (label_map(), 'P'),
        (label_map() == 1, '1'),
        (label_map().astype(np.uint16), 'I;16'),
        (label_map().astype(np.int32), 'I'),
        (label_map().astype(np.float32), 'F'),
    ],
    ids=['grey', 'palette', 'bit', '16 bit', '32 bit', 'float'],
)
def test_values_are_those_that_the_loader_gives(array, mode, tmp_path):
    from mmseg.datasets.transforms import LoadAnnotations

    image = Image.fromarray(array)
    if mode == 'P':
        image.putpalette(list(range(255, -1, -1)) * 3)
    path = str(tmp_path / ('a.tif' if mode in 'IF' else 'a.png'))
    image.save(path)
    assert Image.open(path).mode == mode
    seen = scan(Sample(None, path), READING)
    loaded = LoadAnnotations().transform(dict(seg_map_path=path, seg_fields=[], reduce_zero_label=False))[
        'gt_seg_map'
    ]
    assert seen.problems == []
    np.testing.assert_array_equal(seen.values, np.bincount(loaded.ravel(), minlength=256))


@pytest.mark.parametrize(
    'array, kind, found',
    [
        (np.zeros((16, 24, 3), np.uint8), 'label colour', 'RGB'),
        (np.zeros((16, 24, 4), np.uint8), 'label colour', 'mode RGBA'),
        (np.full((16, 24), 300, np.uint16), 'label wide', 'uint16, such as 300'),
        (np.full((16, 24), 256, np.uint16), 'label wide', 'uint16, such as 256'),
        (np.zeros((16, 23), np.uint8), 'label size', '16 x 23, the image 16 x 24'),
    ],
    ids=['rgb', 'rgba', '16 bit', 'one too many', 'size'],
)
def test_label_files_that_are_no_label_maps(array, kind, found, noise, tmp_path):
    image, label = put(tmp_path / 'a.png', noise), put(tmp_path / 'b.png', array)
    assert kinds(str(image), str(label)) == [(kind, found)]


@pytest.mark.parametrize('value, found', [(0.5, '0.5'), (-1, '-1'), (256, '256'), (np.nan, 'nan')])
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
