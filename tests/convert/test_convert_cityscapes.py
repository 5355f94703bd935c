"""Label images of Cityscapes from its polygons, as its own scripts draw them."""

import json
import re
from functools import partial

import numpy as np
import pytest
from entry import run_tool
from mmseg.datasets import CityscapesDataset
from PIL import Image
from raw_cityscapes import BORDERS, SIZE, rectangle, write_ids, write_polygons
from toys import load_tool

from kd_methods.convert.base import Outcome
from kd_methods.convert.cityscapes import TRAIN_ID_OF_ID, convert_cityscapes, draw_train_ids
from kd_methods.datasets.cityscapes_labels import LABELS
from kd_methods.utils.files import exclusive_folder

STREET = [
    ('road', rectangle(6, 0, 11, 19)),
    ('sky', rectangle(0, 0, 5, 19)),
    ('car', rectangle(4, 2, 8, 6)),
    ('person', rectangle(5, 5, 9, 7)),  # drawn over a part of the car
    ('bicycle', rectangle(0, 0, 3, 3), True),  # deleted
    ('license plate', rectangle(7, 3, 7, 4)),  # its id is below 0
    ('cargroup', rectangle(6, 10, 8, 13)),
    ('polegroup', rectangle(2, 15, 9, 15)),  # a label of its own, without a class
    ('traffic sign', rectangle(1, 17, 2, 40)),  # beyond the image
]

SLANTED = [
    '..........b.........',
    '...r......bbbbbb....',
    '..rrrrrr..bbbbbbbbbb',
    '.rrrrrrrrrbbbbbbbbbb',
    'rrrrrrrrrrrbbbbbbbbb',
    'rrrrrrrrrrrbbbbbbbbb',
    'rrrrrrrrrrrbbbbbbbbb',
    'rrrrrrrrrrrbbbbbbbbb',
    'rrrrrrrrrrrbbbbbbbb.',
    '...rrrrrrrrbbbbbbb..',
    '.........r..bbbbb...',
    '............bbbb....',
]


def street():
    """The train ids of STREET."""
    labels = np.full(SIZE, 0)
    labels[:6] = 10
    labels[4:9, 2:7] = 13
    labels[5:10, 5:8] = 11
    labels[6:9, 10:14] = 13
    labels[2:10, 15] = 255
    labels[1:3, 17:] = 7
    return labels


@pytest.fixture
def root(tmp_path):
    """Two cities of train, one of val, one of test; each image with a sky of another height."""
    root = tmp_path / 'cityscapes'
    for number, (split, city) in enumerate([('train', 'aachen'), ('train', 'bremen'), ('val', 'munster')]):
        for frame in range(2):
            write_polygons(
                root, split, city, frame, [*STREET, ('sky', rectangle(0, 0, 2 * number + frame, 1))]
            )
    write_polygons(root, 'test', 'berlin', 0, BORDERS)
    return root


def read(path):
    image = Image.open(path)
    assert image.mode == 'L'  # as the data set's own scripts write it
    return np.array(image)


def written(root):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob('*_labelTrainIds.png')}


def test_every_pixel(root):
    assert convert_cityscapes(root, workers=1) == Outcome(written=7)
    assert len(written(root)) == 7
    for number, (split, city) in enumerate([('train', 'aachen'), ('train', 'bremen'), ('val', 'munster')]):
        for frame in range(2):
            expected = street()
            expected[: 2 * number + frame + 1, :2] = 10
            path = root / f'gtFine/{split}/{city}/{city}_{frame:06d}_000019_gtFine_labelTrainIds.png'
            np.testing.assert_array_equal(read(path), expected)
    assert (read(root / 'gtFine/test/berlin/berlin_000000_000019_gtFine_labelTrainIds.png') == 255).all()


def test_slanted_edges(tmp_path):
    """As cityscapesscripts' json2labelImg draws them; points off the grid and outside the image."""
    slanted = [('road', [[3, 1], [15, 4], [9, 10], [-4, 8]]), ('bus', [[10.5, 0.5], [25, 3], [12, 13.7]])]
    labels = draw_train_ids(write_polygons(tmp_path, 'train', 'aachen', 0, slanted))
    rows = [''.join({0: 'r', 15: 'b', 255: '.'}[value] for value in row) for row in labels]
    assert rows == SLANTED


def test_every_label_and_no_other(tmp_path):
    """One column a label."""
    objects = [(label.name, rectangle(0, i, 1, i)) for i, label in enumerate(LABELS)]
    labels = draw_train_ids(write_polygons(tmp_path, 'train', 'aachen', 0, objects, size=(2, len(LABELS))))
    assert labels[1].tolist() == [label.train_id for label in LABELS]


def test_label_ids_where_there_are_no_polygons(root):
    """The table gives what the polygons give; where both are there, the polygons count."""
    ids = np.arange(34).repeat(2).reshape(4, 17)
    write_ids(root, 'train', 'ulm', 0, ids)
    both = write_ids(root, 'train', 'aachen', 0, np.full(SIZE, 23))
    assert convert_cityscapes(root, workers=1) == Outcome(written=8)
    train_ids = {label.id: label.train_id for label in LABELS}
    np.testing.assert_array_equal(
        read(root / 'gtFine/train/ulm/ulm_000000_000019_gtFine_labelTrainIds.png'),
        np.vectorize(train_ids.get)(ids),
    )
    np.testing.assert_array_equal(
        read(both.with_name(both.name.replace('labelIds', 'labelTrainIds')))[6:], street()[6:]
    )
    assert TRAIN_ID_OF_ID[34:].max() == -1


def test_coarse_annotations(tmp_path):
    path = write_polygons(tmp_path, 'train_extra', 'erlangen', 0, STREET, annotations='gtCoarse')
    assert convert_cityscapes(tmp_path, 'gtCoarse') == Outcome(written=1)
    np.testing.assert_array_equal(
        read(path.with_name('erlangen_000000_000019_gtCoarse_labelTrainIds.png')), street()
    )


def test_a_second_run_changes_nothing(root):
    convert_cityscapes(root)
    before = written(root)
    assert convert_cityscapes(root) == Outcome(kept=7)
    assert written(root) == before


@pytest.mark.parametrize('error', [KeyboardInterrupt, MemoryError])
def test_an_interrupted_run_leaves_no_half_file_and_the_next_one_goes_on(root, stop_and_go_on, error):
    assert stop_and_go_on(partial(convert_cityscapes, root, workers=1), root, 4, error) == Outcome(
        written=4, kept=3
    )


def test_half_a_file_of_another_tool_is_converted_anew(root):
    convert_cityscapes(root)
    before = written(root)
    victim = sorted(before)[2]
    victim.write_bytes(before[victim][0][:-20])
    assert convert_cityscapes(root) == Outcome(written=1, kept=6)
    assert victim.read_bytes() == before[victim][0]


def test_one_run_at_a_time(root):
    with exclusive_folder(root), pytest.raises(ValueError, match=f'{root}: another process is writing here'):
        convert_cityscapes(root)


def no_size(content):
    del content['imgWidth']


def flat(content):
    content['imgHeight'] = 0


def no_polygon(content):
    del content['objects'][1]['polygon']


def one_point(content):
    content['objects'][1]['polygon'] = [[3, 4]]


def other_label(content):
    content['objects'][1]['label'] = 'carr'


def a_list(content):
    return [content]


@pytest.mark.parametrize(
    'change, text',
    [
        (no_size, "is no file of polygons as Cityscapes has them.*'imgWidth'"),
        (flat, 'imgWidth x imgHeight is 20 x 0'),
        (no_polygon, "is no file of polygons as Cityscapes has them.*'polygon'"),
        (one_point, r"the polygon \[\(3, 4\)\] of 'sky' cannot be drawn"),
        (other_label, "no label of Cityscapes is called 'carr'. They are unlabeled, ego vehicle, "),
        (a_list, 'is no file of polygons as Cityscapes has them'),
    ],
    ids=['no-size', 'flat', 'no-polygon', 'one-point', 'other-label', 'list'],
)
def test_a_wrong_file_is_named_and_alone(root, change, text):
    path = root / 'gtFine/train/bremen/bremen_000001_000019_gtFine_polygons.json'
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))
    outcome = convert_cityscapes(root)
    assert (outcome.written, list(outcome.failed), outcome.exit_code) == (6, [path], 1)
    assert re.search(f'^{re.escape(str(path))}.*{text}', outcome.failed[path])


@pytest.mark.parametrize('share', [0, 0.4, 0.99])
def test_a_truncated_file_is_named_and_repaired_later(root, share):
    path = root / 'gtFine/val/munster/munster_000000_000019_gtFine_polygons.json'
    whole = path.read_text()
    path.write_text(whole[: int(share * len(whole))])
    outcome = convert_cityscapes(root)
    assert (outcome.written, list(outcome.failed)) == (
        6,
        [path],
    ) and 'cannot be read as a JSON file' in outcome.failed[path]
    path.write_text(whole)
    assert convert_cityscapes(root) == Outcome(written=1, kept=6)


def test_wrong_label_ids_are_named(tmp_path):
    write_ids(tmp_path, 'train', 'ulm', 0, np.full((2, 3), 7))
    path = write_ids(tmp_path, 'train', 'ulm', 1, np.array([[7, 34], [255, 0]]))
    outcome = convert_cityscapes(tmp_path)
    assert outcome.written == 1
    assert outcome.failed == {path: f'{path} holds the labels 34, 255, expected label ids from 0 to 33'}


@pytest.mark.parametrize('given', ['..', 'gtFine', 'gtFine/train'])
def test_another_folder_is_said(root, given):
    folder = (root / given).resolve()
    with pytest.raises(FileNotFoundError) as caught:
        convert_cityscapes(folder)
    assert f'ROOT: {str(folder)!r} has no gtFine, it holds ' in str(caught.value)
    assert f'Did you mean {str(root)!r}?' in str(caught.value)


def test_nothing_to_convert(tmp_path):
    path = tmp_path / 'gtFine/train/aachen/aachen_000000_000019_gtFine_color.png'
    path.parent.mkdir(parents=True)
    path.touch()
    path.with_name(
        '._aachen_000000_000019_gtFine_polygons.json'
    ).touch()  # as some computers add to an archive
    with pytest.raises(
        FileNotFoundError, match=r'ROOT: no SPLIT/CITY/\*_polygons.json .nor \*_labelIds.png. below'
    ):
        convert_cityscapes(tmp_path)


def test_mmseg_reads_it(root):
    convert_cityscapes(root)
    data = CityscapesDataset(
        data_root=str(root),
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')],
    )
    assert len(data) == 2
    for frame in range(2):
        expected = street()
        expected[: 5 + frame, :2] = 10
        assert data[frame]['img'].shape[:2] == SIZE
        np.testing.assert_array_equal(data[frame]['gt_seg_map'], expected)
    assert data.metainfo['classes'][street()[7, 3]] == 'car'


def test_the_tool(root, capsys):
    tool = load_tool('data/cityscapes')
    assert tool.main([str(root), '--workers', '2']) == 0
    assert capsys.readouterr().out == f'{root}: 7 files written, 0 there already, 0 failed\n'
    (root / 'gtFine/test/berlin/berlin_000000_000019_gtFine_polygons.json').write_text('{')
    assert tool.main([str(root), '--overwrite']) == 1
    assert '6 files written, 0 there already, 1 failed\n  ' in capsys.readouterr().out


def test_the_tool_says_a_mistake_in_a_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: load_tool('data/cityscapes').main([str(tmp_path)]))
    assert ended.value.code == 1
    assert f": ROOT: '{tmp_path}' has no gtFine, it holds nothing. --help says " in capsys.readouterr().err
