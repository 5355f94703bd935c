import cv2
import mmcv
import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope

import kd_methods  # noqa: F401
from kd_methods.export.plain_config import stock_dataset

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='LoadXFromFile'), dict(type='LoadAnnotations')]


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture
def root(tmp_path):
    """Cityscapes with two images of two cities; each X holds its image's number."""
    for number, city in enumerate(('aachen', 'ulm')):
        for folder, suffix, value in (
            ('leftImg8bit', 'leftImg8bit', np.full((6, 8, 3), number, np.uint8)),
            ('gtFine', 'gtFine_labelTrainIds', np.full((6, 8), number, np.uint8)),
            ('disparity', 'disparity', np.full((6, 8), 7 + number, np.uint16)),
        ):
            path = tmp_path / folder / 'train' / city / f'{city}_0_{suffix}.png'
            path.parent.mkdir(parents=True)
            cv2.imwrite(str(path), value)
    return tmp_path


def build(root, prefix=True, pipeline=PIPELINE, **options):
    folders = dict(
        img_path='leftImg8bit/train',
        seg_map_path='gtFine/train',
        **(dict(x_path='disparity/train') if prefix else {}),
    )
    return DATASETS.build(
        dict(
            dict(
                type='CityscapesDisparityDataset',
                data_root=str(root),
                data_prefix=folders,
                pipeline=list(pipeline),
            ),
            **options,
        )
    )


def test_each_image_has_its_own_x(root):
    dataset = build(root)
    assert len(dataset) == 2
    for number in range(2):
        item = dataset[number]
        assert (
            (item['img'] == number).all()
            and (item['x'] == 7 + number).all()
            and (item['gt_seg_map'] == number).all()
        )


def test_names_from_a_list(root):
    (root / 'list.txt').write_text('ulm/ulm_0\n')
    dataset = build(root, ann_file='list.txt')
    assert len(dataset) == 1 and (dataset[0]['x'] == 8).all()


def test_without_the_prefix_it_is_the_set_of_rgb_alone(root):
    info = build(root, prefix=False, pipeline=PIPELINE[:1])[0]
    assert 'x_path' not in info and 'x' not in info


def test_what_is_missing_is_named(root):
    path = root / 'disparity/train/ulm/ulm_0_disparity.png'
    path.unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"1 of 2 images have no X: no file '.*ulm_0_disparity.png'\. Expected .*x_suffix",
    ):
        build(root)
    with pytest.raises(FileNotFoundError, match=r"2 of 2 .*aachen_0_depth.png', '.*_depth.png'\. "):
        build(root, x_suffix='_depth.png')
    with pytest.raises(
        FileNotFoundError, match=r'data_prefix.x_path\) finds no .*leave x_path out to read RGB alone'
    ):
        build(root, data_prefix=dict(img_path='leftImg8bit/train', x_path='depth/train'))


MMCV_FLIP = dict(type=mmcv.transforms.RandomFlip, prob=1.0)


@pytest.mark.parametrize(
    'steps, text',
    [
        ([dict(type='Pad', size=(8, 8))], 'mmcv.Pad does not move X as it moves the image. Use PadRGBX'),
        ([dict(type='CenterCrop', crop_size=4)], 'CenterCrop does not .* Use RandomCrop'),
        ([dict(type='RandomMosaic', prob=0.5)], 'RandomMosaic does not .* Leave it out'),
        ([MMCV_FLIP], 'mmcv.RandomFlip does not .* Use mmseg.RandomFlip'),
        ([dict(type='RandomRotFlip')], 'RandomRotFlip does not .* Use RandomRotate and RandomFlip'),
        (
            [dict(type='RandomApply', transforms=[dict(type='CenterCrop', crop_size=4)], prob=0.1)],
            'CenterCrop does not',
        ),
        (
            [dict(type='RandomChoice', transforms=[[dict(type='RandomFlip', prob=0.5)], [MMCV_FLIP]])],
            'mmcv.RandomFlip does not',
        ),
        ([PIPELINE[1]], 'LoadXFromFile stands 2 times'),
    ],
    ids=str,
)
def test_pipelines_that_would_leave_x_behind_are_refused(root, steps, text):
    with pytest.raises(ValueError, match='CityscapesDisparityDataset.pipeline: .*' + text):
        build(root, pipeline=[*PIPELINE, *steps])


def test_x_is_loaded_before_the_image_moves(root):
    flip = dict(type='RandomFlip', prob=0.5)
    with pytest.raises(
        ValueError, match=r"LoadXFromFile stands behind \['RandomFlip'\], which may have changed"
    ):
        build(root, pipeline=[PIPELINE[0], flip, PIPELINE[1]])
    build(
        root,
        pipeline=[
            PIPELINE[0],
            PIPELINE[2],
            PIPELINE[1],
            flip,
            dict(type='PadRGBX', size=(8, 8)),
            dict(type='RandomResize', scale=(8, 8), ratio_range=(0.5, 2.0)),
        ],
    )


def test_without_x_all_transforms_are_as_good_as_ever(root):
    build(root, pipeline=[PIPELINE[0], PIPELINE[2], dict(type='Pad', size=(8, 8)), MMCV_FLIP], prefix=False)
    with pytest.raises(ValueError, match='the pipeline loads X, but data_prefix=.* does not say where it is'):
        build(root, prefix=False)


def test_normals_turn_with_one_flip_only(root):
    load = dict(type='LoadXFromFile', channels=3, normals=True)
    flip = dict(type='RandomFlip', prob=0.5)
    build(root, pipeline=[PIPELINE[0], load, flip])
    for steps in ([flip, flip], [dict(type='RandomRotate', prob=0.5, degree=10)]):
        with pytest.raises(ValueError, match='with normals=True the vectors turn with one RandomFlip'):
            build(root, pipeline=[PIPELINE[0], load, *steps])


def test_a_student_leaves_with_the_stock_data_set(root):
    cfg = dict(
        type='CityscapesDisparityDataset',
        data_root=str(root),
        pipeline=[],
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
    )
    stock = stock_dataset(cfg)
    assert stock['type'] == 'CityscapesDataset'
    assert (
        DATASETS.build(stock)
        .get_data_info(1)['seg_map_path']
        .endswith('gtFine/train/ulm/ulm_0_gtFine_labelTrainIds.png')
    )
