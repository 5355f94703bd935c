"""Conversion of CamVid, from small files in the form of the colour-coded release."""

from functools import partial

import mmcv
import numpy as np
import pytest
from PIL import Image
from raw_camvid import HEIGHT, LABEL_NAMES, NAMES, PALETTE, WIDTH, write_label, write_release
from toys import load_tool

from kd_methods.convert.camvid import TABLE, classes_of, convert_camvid, split_of
from kd_methods.datasets import CamVidDataset
from kd_methods.utils.files import exclusive_folder

CLASS_OF_LABEL = [  # a line of label_colors.txt each
    9,
    1,
    10,
    1,
    1,
    8,
    9,
    9,
    2,
    7,
    3,
    3,
    6,
    10,
    8,
    4,
    9,
    3,
    4,
    4,
    6,
    0,
    8,
    2,
    6,
    8,
    5,
    8,
    1,
    5,
    11,
    1,
]
FULL = (WIDTH, HEIGHT)
HALF, QUARTER = (WIDTH // 2, HEIGHT // 2), (WIDTH // 4, HEIGHT // 4)


@pytest.fixture
def release(tmp_path):
    return tmp_path / 'release', write_release(tmp_path / 'release')


def read(path):
    return np.asarray(Image.open(path))


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def test_the_table_is_that_of_the_release():
    assert list(TABLE) == LABEL_NAMES
    assert [colour for colour, _ in TABLE.values()] == [tuple(colour) for colour in PALETTE.tolist()]
    labels, known = classes_of(PALETTE[None])
    assert labels[0].tolist() == CLASS_OF_LABEL and known.all()
    assert CamVidDataset.METAINFO['classes'] == (
        'sky',
        'building',
        'pole',
        'road',
        'pavement',
        'tree',
        'sign symbol',
        'fence',
        'car',
        'pedestrian',
        'bicyclist',
    )


def test_the_usual_split_has_its_official_sizes():
    names = [f'0001TP_{i:06d}' for i in range(6690, 10381, 30)] + [
        f'0006R0_f{i:05d}' for i in range(930, 3931, 30)
    ]
    frames = [*range(390, 2401, 30), *range(4350, 7921, 30), *range(7959, 8160, 2), *range(8190, 8641, 30)]
    names += [f'0016E5_{i:05d}' for i in frames] + [f'Seq05VD_f{i:05d}' for i in range(0, 5101, 30)]
    splits = [split_of(name) for name in names]
    assert len(names) == 701 and [splits.count(split) for split in ('train', 'val', 'test')] == [
        367,
        101,
        233,
    ]
    with pytest.raises(ValueError, match='0002XX_1.png belongs to none of the sequences.*--splits'):
        split_of('0002XX_1')


def test_every_pixel(release, tmp_path):
    """In full size all pixels of images and labels; in smaller sizes, averages of images and one label of
    each block.
    """
    source, numbers = release
    for size in (FULL, HALF, QUARTER):
        out, step = tmp_path / f'out{size[0]}', WIDTH // size[0]
        outcome = convert_camvid(source, out, size=size)
        assert outcome.exit_code == 0 and outcome.written == 2 * len(NAMES)
        for name, split in NAMES.items():
            image, label = read(out / split / f'{name}.png'), read(out / f'{split}annot' / f'{name}.png')
            colours = read(source / '701_StillsRaw_full' / f'{name}.png')
            classes = np.array(CLASS_OF_LABEL)[numbers[name]]
            assert label.dtype == np.uint8 and image.shape == (*label.shape, 3) == (size[1], size[0], 3)
            blocks = colours.reshape(size[1], step, size[0], step, 3).mean((1, 3))
            assert abs(image - blocks).max() <= 0.5 + 1e-6
            np.testing.assert_array_equal(label, classes[step // 2 :: step, step // 2 :: step])


def test_the_data_set_class_reads_the_result(release, tmp_path):
    source, numbers = release
    convert_camvid(source, tmp_path / 'out', size=FULL)
    for split in ('train', 'val', 'test'):
        dataset = CamVidDataset(
            data_root=str(tmp_path / 'out'),
            ann_file=f'{split}.txt',
            pipeline=[dict(type='mmseg.LoadAnnotations')],
        )
        names = sorted(name for name, place in NAMES.items() if place == split)
        assert len(dataset) == len(names)
        for item, name in zip(dataset, names):
            assert item['img_path'] == str(tmp_path / f'out/{split}/{name}.png')
            classes = np.array(CLASS_OF_LABEL)[numbers[name]]
            np.testing.assert_array_equal(item['gt_seg_map'], np.where(classes == 11, 255, classes))
            assert mmcv.imread(item['img_path']).shape == (HEIGHT, WIDTH, 3)


def test_default_size_is_that_of_the_papers(release, tmp_path):
    source, _ = release
    convert_camvid(source, tmp_path / 'out')
    assert {read(path).shape[:2] for path in tmp_path.glob('out/*/*.png')} == {(360, 480)}


def test_a_second_run_does_nothing(release, tmp_path):
    source, _ = release
    convert_camvid(source, tmp_path / 'out', size=HALF)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob('out/*/*.png')}
    outcome = convert_camvid(source, tmp_path / 'out', size=HALF)
    assert (outcome.written, outcome.kept, outcome.exit_code) == (0, 2 * len(NAMES), 0)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob('out/*/*.png')} == before


def test_images_of_another_kind_are_converted_anew(release, tmp_path):
    """A grey image and a coloured label map under the names of the targets."""
    source, _ = release
    convert_camvid(source, tmp_path / 'out', size=HALF)
    paths = [tmp_path / f'out/{folder}/0016E5_07959.png' for folder in ('val', 'valannot')]
    content = [path.read_bytes() for path in paths]
    for path, mode in zip(paths, ('L', 'RGB')):
        Image.new(mode, HALF).save(path)
    assert convert_camvid(source, tmp_path / 'out', size=HALF).written == 2
    assert [path.read_bytes() for path in paths] == content


def test_one_run_at_a_time(release, tmp_path):
    """Also of the first ones, which make the folder."""
    with (
        exclusive_folder(tmp_path / 'out'),
        pytest.raises(ValueError, match='out: another process is writing here'),
    ):
        convert_camvid(release[0], tmp_path / 'out')


def test_another_size_needs_overwrite(release, tmp_path):
    source, _ = release
    convert_camvid(source, tmp_path / 'out', size=HALF)
    with pytest.raises(
        ValueError, match=r'out: .*train/\w+.png is 8 x 6 pixels, asked for 16 x 12 .*--overwrite'
    ):
        convert_camvid(source, tmp_path / 'out', size=FULL)
    assert convert_camvid(source, tmp_path / 'out', size=FULL, overwrite=True).written == 2 * len(NAMES)
    assert {Image.open(path).size for path in tmp_path.glob('out/*/*.png')} == {FULL}


@pytest.mark.parametrize(
    'form',
    ['{name}', '{name}.png', '/SegNet/CamVid/train/{name}.png /SegNet/CamVid/trainannot/{name}.png'],
    ids=['name', 'file', 'pair'],
)
def test_another_split(release, tmp_path, form):
    source, _ = release
    names = list(NAMES)
    (tmp_path / 'lists').mkdir()
    chosen = dict(train=names[:3], val=names[3:4], test=names[6:8])
    for split, members in chosen.items():
        lines = [form.format(name=name) for name in (*members, members[0])]  # one of them twice
        (tmp_path / f'lists/{split}.txt').write_text('\n'.join(lines) + '\n\n')
    outcome = convert_camvid(source, tmp_path / 'out', tmp_path / 'lists', FULL)
    assert outcome.exit_code == 0 and outcome.written == 2 * 6 and len(outcome.notes) == 1
    for split, members in chosen.items():
        expected = [f'{split}/{name}.png {split}annot/{name}.png' for name in members]
        assert (tmp_path / f'out/{split}.txt').read_text().splitlines() == expected
        assert all((tmp_path / 'out' / path).is_file() for line in expected for path in line.split())


@pytest.mark.parametrize(
    'lists, error, text',
    [
        (dict(train='a', val='b'), FileNotFoundError, r'splits: .*lists. has no test.txt'),
        (dict(train='a', val='b', test='\n'), ValueError, 'test.txt names no image'),
        (dict(train='a\nb', val='b', test='c'), ValueError, 'splits: b is in both train.txt and val.txt'),
    ],
    ids=['missing', 'empty', 'twice'],
)
def test_wrong_lists(release, tmp_path, lists, error, text):
    (tmp_path / 'lists').mkdir()
    for split, content in lists.items():
        (tmp_path / f'lists/{split}.txt').write_text(content)
    with pytest.raises(error, match=text):
        convert_camvid(release[0], tmp_path / 'out', tmp_path / 'lists')
    assert not (tmp_path / 'out').exists()


def test_what_is_broken_is_named_and_the_rest_converted(release, tmp_path):
    """Missing, truncated and empty images and labels; once they are put right, a second run adds them."""
    source, _ = release
    names = list(NAMES)
    image, label = (
        (lambda i: source / f'701_StillsRaw_full/{names[i]}.png'),
        (lambda i: source / f'LabeledApproved_full/{names[i]}_L.png'),
    )
    broken = [label(0), image(2), image(4), label(6), label(7)]
    content = {path: path.read_bytes() for path in broken}
    label(0).unlink()
    image(2).unlink()
    for path in (image(4), label(6)):
        path.write_bytes(content[path][:-40])
    label(7).write_bytes(b'')
    outcome = convert_camvid(source, tmp_path / 'out', size=HALF)
    text = str(outcome)
    assert outcome.exit_code == 1 and len(outcome.failed) == 5
    assert f'{label(0)}: no such file; train wants it. Unpack LabeledApproved_full.zip again' in text
    assert f'{image(2)}: no such file; test wants it. Unpack 701_StillsRaw_full.zip again' in text
    for path in broken[2:]:
        assert f'{path} ({path.stat().st_size} bytes) cannot be read as an image' in text
    assert '3 train, 0 val and 2 test images' in text
    lines = ''.join((tmp_path / f'out/{split}.txt').read_text() for split in ('train', 'val', 'test'))
    listed = [names[i] for i in (1, 3, 5, 8, 9)]
    assert sorted(line.split('/')[-1] for line in lines.split('\n')[:-1]) == sorted(
        f'{name}.png' for name in listed
    )
    for path in broken:
        path.write_bytes(content[path])
    again = convert_camvid(source, tmp_path / 'out', size=HALF)
    assert again.exit_code == 0 and again.written == 7 and again.kept == 13
    whole = convert_camvid(source, tmp_path / 'whole', size=HALF)
    assert whole.written == 20 and files(tmp_path / 'out') == files(tmp_path / 'whole')
    assert all(
        (tmp_path / 'out' / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes()
        for name in files(tmp_path / 'out')
    )


def test_stopped_half_way(release, tmp_path, stop_and_go_on):
    """No half file and no list is left; the same command completes the rest."""
    source, _ = release
    convert = partial(convert_camvid, source, tmp_path / 'out', size=HALF, workers=1)
    assert stop_and_go_on(convert, tmp_path / 'out', 14).written == 7


def test_a_few_unknown_colours_become_void(tmp_path):
    write_release(tmp_path / 'release')
    name, size = '0001TP_006690', (40, 30)
    colours = np.tile(PALETTE[21], (30, 40, 1))  # sky
    colours[3, 4], colours[5, 6] = (26, 26, 26), (128, 128, 129)
    write_label(tmp_path / 'release', name, colours)
    Image.fromarray(colours).save(tmp_path / f'release/701_StillsRaw_full/{name}.png')
    outcome = convert_camvid(tmp_path / 'release', tmp_path / 'out', size=size, workers=1)
    label = read(tmp_path / f'out/trainannot/{name}.png')
    expected = np.zeros((30, 40), np.uint8)
    expected[3, 4] = expected[5, 6] = 11
    np.testing.assert_array_equal(label, expected)
    assert outcome.exit_code == 0
    said = '\n'.join(outcome.notes)
    assert (
        f"{name}_L.png: 2 of 1200 pixels have colours that are no label's, such as (26, 26, 26); they "
        'become void' in said
    )


@pytest.mark.parametrize('count, refused', [(6, 0), (7, 1)])
def test_many_unknown_colours_are_another_kind_of_file(tmp_path, count, refused):
    """More than one of 200 pixels."""
    write_release(tmp_path / 'release', ['0001TP_006690'])
    colours = np.tile(PALETTE[21], (30, 40, 1))
    colours[0, :count] = 26
    for path in tmp_path.glob('release/*/*.png'):
        Image.fromarray(colours).save(path)
    outcome = convert_camvid(tmp_path / 'release', tmp_path / 'out', size=(40, 30))
    assert len(outcome.failed) == refused


def test_labels_of_another_kind_are_refused(release, tmp_path):
    """Classes in place of colours, and a label of another size than its image."""
    source, _ = release
    names = list(NAMES)
    write_label(source, names[0], np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 12)
    write_label(source, names[1], PALETTE[np.zeros((HEIGHT // 2, WIDTH // 2), int)])
    outcome = convert_camvid(source, tmp_path / 'out', size=HALF)
    first, second = outcome.failed.values()
    assert (
        f"{names[0]}_L.png: 176 of 192 pixels have colours that are no label's, such as (1, 1, 1). Expected"
        in first
    )
    assert f'{names[1]}.png' in second and '12 x 16' in second and '6 x 8' in second
    assert outcome.exit_code == 1 and outcome.written == 2 * len(NAMES) - 2


def test_wrong_folders(release, tmp_path):
    source, _ = release
    with pytest.raises(
        FileNotFoundError, match=r'source: .*701_StillsRaw_full.* has no .*Did you mean .*release'
    ):
        convert_camvid(source / '701_StillsRaw_full', tmp_path / 'out')
    with pytest.raises(FileNotFoundError, match='source: the converter finds no'):
        convert_camvid(tmp_path / 'gone', tmp_path / 'out')
    for path in (source / 'LabeledApproved_full').iterdir():
        path.rename(path.with_name(path.name.replace('_L', '')))
    with pytest.raises(ValueError, match='source: .*has no image .*with a label .*NAME_L.png'):
        convert_camvid(source, tmp_path / 'out')
    with pytest.raises(ValueError, match='size: got 0 6'):
        convert_camvid(source, tmp_path / 'out', size=(0, 6))
    assert not (tmp_path / 'out').exists()


def test_command_line(release, tmp_path, capsys):
    source, _ = release
    tool = load_tool('data/camvid')
    argv = [str(source), '--out', str(tmp_path / 'out'), '--size', '8', '6', '--workers', '2']
    assert tool.main(argv) == 0
    said = capsys.readouterr().out
    assert (
        '20 files written, 0 there already, 0 failed' in said and '5 train, 2 val and 3 test images' in said
    )
    assert 'The full data set has 367, 101 and 233.' in said
    (source / 'LabeledApproved_full/0016E5_07959_L.png').unlink()
    assert tool.main(argv) == 1
    assert '0016E5_07959_L.png: no such file' in capsys.readouterr().out


def test_foreign_files_are_named_and_the_rest_converted(release, tmp_path):
    source, _ = release
    for folder, ending in (('701_StillsRaw_full', '.png'), ('LabeledApproved_full', '_L.png')):
        for name in ('contact_sheet', '._0001TP_006690'):  # what a Mac leaves beside a file
            Image.new('RGB', FULL).save(source / folder / f'{name}{ending}')
    outcome = convert_camvid(source, tmp_path / 'out', size=FULL)
    assert outcome.written == 2 * len(NAMES) and [path.name for path in outcome.failed] == [
        'contact_sheet.png'
    ]
    assert 'belongs to none of the sequences' in next(iter(outcome.failed.values()))


@pytest.fixture
def small(release, tmp_path):
    """The release of 11 classes: labels 0 to 11, lists with its publisher's paths."""
    root = tmp_path / 'small'
    convert_camvid(release[0], root, size=HALF)
    for split in ('train', 'val', 'test'):
        path = root / f'{split}.txt'
        path.write_text(path.read_text().replace(f'{split}/', f'/SegNet/CamVid/{split}/'))
    return root


def test_the_release_of_11_classes_is_made_smaller(small, tmp_path):
    outcome = convert_camvid(small, tmp_path / 'out', size=QUARTER, workers=1)
    assert outcome.exit_code == 0 and outcome.written == 2 * len(NAMES)
    for name, split in NAMES.items():
        image, label = (read(small / folder / f'{name}.png') for folder in (split, f'{split}annot'))
        means = image.reshape(QUARTER[1], 2, QUARTER[0], 2, 3).mean((1, 3))
        assert np.abs(read(tmp_path / 'out' / split / f'{name}.png') - means).max() <= 0.5
        found = read(tmp_path / 'out' / f'{split}annot' / f'{name}.png')
        blocks = label.reshape(QUARTER[1], 2, QUARTER[0], 2)
        assert (blocks == found[:, None, :, None]).any((1, 3)).all()  # each is one of the four that it covers
    dataset = CamVidDataset(data_root=str(tmp_path / 'out'), ann_file='val.txt', pipeline=[])
    assert len(dataset) == 2


def test_void_of_the_release_may_be_255(small, tmp_path):
    name, split = next(iter(NAMES.items()))
    path = small / f'{split}annot' / f'{name}.png'
    label = read(path).copy()
    label[:] = 255
    mmcv.imwrite(label, str(path))
    convert_camvid(small, tmp_path / 'out', size=QUARTER, workers=1)
    assert (read(tmp_path / 'out' / f'{split}annot' / f'{name}.png') == 11).all()


def test_other_labels_of_the_release_are_named(small, tmp_path):
    name, split = next(iter(NAMES.items()))
    path = small / f'{split}annot' / f'{name}.png'
    mmcv.imwrite(np.full(HALF[::-1], 31, np.uint8), str(path))
    outcome = convert_camvid(small, tmp_path / 'out', size=QUARTER, workers=1)
    assert outcome.exit_code == 1 and 'labels [31], expected 0 to 10' in str(outcome)
    assert name not in (tmp_path / 'out' / f'{split}.txt').read_text()


@pytest.mark.parametrize(
    'keys, said', [(dict(splits='x'), 'splits: .* has its own lists'), ({}, 'out: .* itself')]
)
def test_mistakes_with_the_release_are_told(small, keys, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        convert_camvid(small, tmp_path / 'out' if keys else small, size=QUARTER, **keys)
