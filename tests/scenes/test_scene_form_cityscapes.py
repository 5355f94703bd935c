"""The scenes in the form of Cityscapes: label images, polygons that draw them, disparity."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from kd_methods.datasets.cityscapes_labels import BY_NAME, BY_TRAIN_ID
from kd_methods.scenes.forms.cityscapes import scene_polygons
from kd_methods.scenes.maker import scene_at
from kd_methods.scenes.writer import write_scenes

SIZE, EGO_ROWS = 64, 2


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp('scenes_cityscapes')
    write_scenes(out, train=4, val=2, size=SIZE, format='cityscapes', depth=True, workers=1)
    return out


@pytest.fixture(params=[('train', 'aachen', 0), ('train', 'bochum', 3), ('val', 'lindau', 1)], ids=str)
def read(request, root):
    """A scene, and a function that opens its files: `read(folder, kind)`."""
    split, city, index = request.param

    def open_file(folder, kind):
        path = root / folder / split / city / f'{city}_000000_{index:06d}_{kind}'
        return json.loads(path.read_text()) if path.suffix == '.json' else Image.open(path)

    return scene_at(0, split, index, size=SIZE), open_file


def draw(objects, size, value):
    """Polygons of an image, drawn in their order as the data set's own scripts draw them."""
    image = Image.new('L', (size, size), BY_NAME['unlabeled'].id)
    painter = ImageDraw.Draw(image)
    for thing in objects:
        painter.polygon([tuple(point) for point in thing['polygon']], fill=value(BY_NAME[thing['label']]))
    return np.array(image)


def with_ego(label, value):
    label = label.copy()
    label[SIZE - EGO_ROWS :] = value
    return label


def test_label_images(read):
    scene, open_file = read
    images = {
        kind: open_file('gtFine', f'gtFine_{kind}.png')
        for kind in ('labelTrainIds', 'labelIds', 'instanceIds', 'color')
    }
    assert {kind: image.mode for kind, image in images.items()} == dict(
        labelTrainIds='L', labelIds='L', instanceIds='I;16', color='RGBA'
    )
    arrays = {kind: np.array(image) for kind, image in images.items()}
    assert np.array_equal(arrays['labelTrainIds'], with_ego(scene.label, 255))
    ids = np.array([BY_TRAIN_ID[label].id for label in range(11)])[scene.label]
    assert np.array_equal(arrays['labelIds'], with_ego(ids, 1))
    for label in BY_NAME.values():
        assert (arrays['color'][arrays['labelIds'] == label.id] == (*label.colour, 255)).all()
    assert np.array_equal(np.array(open_file('leftImg8bit', 'leftImg8bit.png')), scene.image)


def test_instance_ids_are_label_ids_of_classes_without_instances(read):
    _, open_file = read
    ids, instances = (
        np.array(open_file('gtFine', f'gtFine_{kind}.png')) for kind in ('labelIds', 'instanceIds')
    )
    assert not any(label.instances for label in BY_NAME.values() if label.id in ids)  # else 1000 id + number
    assert np.array_equal(instances, ids)


def test_polygons_draw_the_label_images(read):
    scene, open_file = read
    content = open_file('gtFine', 'gtFine_polygons.json')
    assert (
        list(content) == ['imgHeight', 'imgWidth', 'objects']
        and content['imgHeight'] == content['imgWidth'] == SIZE
    )
    for thing in content['objects']:
        assert list(thing) == ['label', 'polygon'] and len(thing['polygon']) >= 3
        assert all(type(v) is int and 0 <= v < SIZE for point in thing['polygon'] for v in point)
    train_ids, ids = (
        np.array(open_file('gtFine', f'gtFine_{kind}.png')) for kind in ('labelTrainIds', 'labelIds')
    )
    assert np.array_equal(draw(content['objects'], SIZE, lambda label: label.train_id), train_ids)
    assert np.array_equal(draw(content['objects'], SIZE, lambda label: label.id), ids)


def test_polygons_of_hard_scenes_are_exact():
    """Small ones, in which a thin bar before a sign leaves holes, and parts of a pixel."""
    holes = 0
    for index in range(150):
        scene = scene_at(2, 'train', index, size=32, difficulty=1.0)
        objects = scene_polygons(scene)
        drawn = draw(objects, 32, lambda label: label.train_id)
        assert np.array_equal(drawn[:-1], scene.label[:-1]) and (drawn[-1] == 255).all(), index
        holes += [thing['label'] for thing in objects].count('road') > 1
    assert holes > 0


def test_disparity_is_that_of_the_depth(read):
    scene, open_file = read
    image = open_file('disparity', 'disparity.png')
    assert image.mode == 'I;16'
    values = np.array(image).astype(float)
    there = values > 0
    assert 0.9 < there.mean() < 1
    disparity = (values[there] - 1) / 256
    np.testing.assert_allclose(disparity * scene.depth[there], 0.1 * SIZE, rtol=0.02)
    assert (
        np.diff(disparity[np.argsort(scene.depth[there], kind='stable')]) <= 0
    ).all()  # what is farther has less
    assert values.max() < 2**16 - 1


def test_without_depth_there_is_no_disparity(tmp_path):
    write_scenes(tmp_path, train=1, val=1, size=32, format='cityscapes', workers=1)
    assert not (tmp_path / 'disparity').exists()
