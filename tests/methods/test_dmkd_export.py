"""Detectors from the command line: trained, distilled, tested, and used by stock mmdet."""

import json

import numpy as np
import pytest
import torch
from toys import ROOT, SIZE, stock_report

CONFIGS = ROOT / 'configs'
PAIR = 'retinanet_r18_retinanet_r18-w16_scenescoco'
ALL_BOXES = 'model.architecture.test_cfg.score_thr=0.0'  # else nothing is found yet


def arguments(config, folder, options, *checkpoint):
    return [
        str(CONFIGS / config),
        *map(str, checkpoint),
        '--work-dir',
        str(folder),
        '--cfg-options',
        *options,
    ]


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    from kd_methods.scenes.writer import write_scenes

    out = tmp_path_factory.mktemp('data') / 'scenes_coco'
    write_scenes(out, train=8, val=3, size=SIZE, format='coco', workers=1)
    return out


@pytest.fixture(scope='module')
def options(scenes):
    annotations = scenes / 'annotations/instances_val2017.json'
    return [
        'train_cfg.max_iters=3',
        'train_cfg.val_interval=3',
        'train_dataloader.batch_size=2',
        'optim_wrapper.optimizer.lr=1e-4',
        *(f'{split}_dataloader.dataset.data_root={scenes}' for split in ('train', 'val', 'test')),
        *(f'{split}_evaluator.ann_file={annotations}' for split in ('val', 'test')),
    ]


@pytest.fixture(scope='module')
def teacher(tools, options, tmp_path_factory):
    """Weights of a teacher, trained like any other detector."""
    folder = tmp_path_factory.mktemp('teacher')
    tools.train(arguments('baselines/retinanet_r18_scenescoco.py', folder, options))
    return folder / 'iter_3_student.pth'


@pytest.fixture(scope='module')
def run(tools, options, teacher, tmp_path_factory):
    """Work dir of the distillation."""
    folder = tmp_path_factory.mktemp('work')
    tools.train(
        arguments(f'dmkd/dmkd_{PAIR}.py', folder, [*options, f'model.teacher_ckpt={teacher}', ALL_BOXES])
    )
    return folder


@pytest.fixture(scope='module')
def mask_rcnn(tools, options, tmp_path_factory):
    """Work dir of a Mask R-CNN."""
    folder = tmp_path_factory.mktemp('mask')
    tools.train(arguments('baselines/mask-rcnn_r18-w16_scenescoco.py', folder, options))
    return folder


def boxes_of(config, state, images):
    """What a detector with these weights finds here."""
    from mmdet.apis import inference_detector, init_detector

    model = init_detector(str(config), None, device='cpu')
    model.load_state_dict(state)
    return [inference_detector(model, str(image)).pred_instances.bboxes.tolist() for image in images]


def test_the_student_is_a_plain_detector(run, scenes, tmp_path):
    images = sorted((scenes / 'val2017').glob('*.jpg'))
    report = stock_report(run, images, tmp_path, 'mmdet')
    assert report['ours'] == [] and report['odd_keys'] == []
    assert report['classes'] == list('0123456789')
    assert 'coco/bbox_mAP' in report['metrics']
    full = torch.load(run / 'iter_3.pth', weights_only=False)['state_dict']
    inside = [name for name in full if name.startswith('architecture.')]
    student = {name.removeprefix('architecture.'): full[name] for name in inside}
    expected = boxes_of(run / 'student_config.py', student, images)
    assert all(len(boxes) > 5 for boxes in expected)
    for found, own in zip(report['boxes'], expected):
        np.testing.assert_allclose(found, own, atol=1e-3)


def test_nothing_of_the_method_is_left(run):
    text = (run / 'student_config.py').read_text()
    assert not any(word in text for word in ('kd_methods', 'mmrazor', 'DMKD', 'teacher', 'FrozenTeacher'))
    assert 'from mmdet.apis import inference_detector, init_detector' in text
    weights = torch.load(run / 'best.pth', weights_only=True)
    words = ('generation', 'fusion', 'align', 'architecture')
    assert not any(word in name for name in weights['state_dict'] for word in words)
    assert 'mmdet_version' in weights['meta']


@pytest.mark.parametrize('checkpoint', ['best.pth', 'iter_3.pth'])
def test_tools_test_gives_box_map_and_never_builds_the_teacher(tools, run, options, checkpoint, tmp_path):
    changed = [*options, 'model.teacher_ckpt=/nowhere.pth', ALL_BOXES]
    metrics = tools.test(arguments(f'dmkd/dmkd_{PAIR}.py', tmp_path, changed, run / checkpoint))
    assert 0 <= metrics['coco/bbox_mAP'] <= 1
    written = json.loads((tmp_path / f'test_{checkpoint[:-4]}.json').read_text())
    assert set(written['metrics']) == set(metrics)


def test_instance_segmentation_gives_box_and_mask_map(tools, mask_rcnn, options, tmp_path):
    config = 'baselines/mask-rcnn_r18-w16_scenescoco.py'
    metrics = tools.test(arguments(config, tmp_path, options, mask_rcnn / 'best.pth'))
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= set(metrics)


def test_the_exported_mask_rcnn_is_stock_too(mask_rcnn, scenes, tmp_path):
    report = stock_report(mask_rcnn, sorted((scenes / 'val2017').glob('*.jpg')), tmp_path, 'mmdet')
    assert report['ours'] == [] and report['odd_keys'] == []
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= set(report['metrics'])
    assert all(shape == [SIZE, SIZE] for shape in report['masks'])


def test_perfect_boxes_and_masks_score_one(scenes):
    """The annotations are what the metric thinks they are: handed back as predictions they are perfect."""
    from mmdet.evaluation import CocoMetric
    from mmengine.fileio import load
    from pycocotools import mask as coco_mask

    path = str(scenes / 'annotations/instances_val2017.json')
    metric = CocoMetric(ann_file=path, metric=['bbox', 'segm'])
    metric.dataset_meta = dict(classes=tuple('0123456789'))
    content = load(path)
    for image in content['images']:
        things = [a for a in content['annotations'] if a['image_id'] == image['id']]
        boxes = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in (a['bbox'] for a in things)])
        masks = np.array([coco_mask.decode(a['segmentation']) for a in things])
        found = dict(
            bboxes=boxes,
            scores=torch.ones(len(things)),
            labels=torch.tensor([a['category_id'] - 1 for a in things]),
            masks=torch.tensor(masks).bool(),
        )
        metric.process({}, [dict(img_id=image['id'], ori_shape=(SIZE, SIZE), pred_instances=found)])
    result = metric.evaluate(len(content['images']))
    assert result['coco/bbox_mAP'] == 1 and result['coco/segm_mAP'] == 1
