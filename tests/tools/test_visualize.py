"""`tools/visualize.py` as a user runs it: which files it writes, what is in them, what mistakes are told."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from toys import ROOT, SIZE, load_tool, tiny_distillation, tiny_model, tiny_run, write_config
from toys_det import tiny_detector

import kd_methods  # noqa: F401
from kd_methods.visualize import draw


def save_weights(path: Path, model: dict, seed: int = 0, prefix: str = '', scope: str = 'mmseg') -> Path:
    """Weights of a network that has learnt nothing."""
    from mmengine.registry import DefaultScope

    from kd_methods.networks.config import build_network

    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(scope):
        network = build_network(copy.deepcopy(model))
    state = {prefix + name: value for name, value in network.state_dict().items()}
    if prefix:
        state['distiller.connectors.adapter.conv_module.conv.weight'] = torch.zeros(1)
    torch.save(dict(state_dict=state), path)
    return path


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('visualize')


@pytest.fixture(scope='module')
def files(folder, tiny_scenes):
    """A distillation config, its student's plain config, and checkpoints."""
    from types import SimpleNamespace

    teacher_model = tiny_model(8, 'BN')
    teacher_model['data_preprocessor'].update(mean=[0.0] * 3, std=[255.0] * 3)
    teacher = SimpleNamespace(
        config=write_config(folder / 'teacher.py', dict(model=teacher_model, default_scope='mmseg')),
        checkpoint=save_weights(folder / 'teacher.pth', teacher_model),
    )
    run, student = tiny_run(tiny_scenes), tiny_model(4, 'BN')
    return SimpleNamespace(
        config=str(
            write_config(
                folder / 'pair.py', dict(run, model=tiny_distillation(teacher, architecture=student))
            )
        ),
        plain=str(write_config(folder / 'plain.py', dict(run, model=student))),
        teacher=str(teacher.checkpoint),
        teacher_plain=str(write_config(folder / 'teacher_plain.py', dict(run, model=teacher_model))),
        full=str(save_weights(folder / 'full.pth', student, prefix='architecture.')),
        student=str(save_weights(folder / 'student.pth', student)),
        other=str(save_weights(folder / 'other.pth', student, seed=1)),
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(*argv)` -> the pages by name of file; the files are in `tmp_path / 'out'`, empty unless
    `drawn=True`, to save time.
    """
    tool, pages, original = load_tool('visualize'), [], draw.draw

    def start(*argv, drawn: bool = False) -> dict[str, draw.Sheet]:
        pages.clear()
        paint = original if drawn else lambda page: Figure((0.1, 0.1))
        monkeypatch.setattr(draw, 'draw', lambda page: pages.append(page) or paint(page))
        paths = tool.main(
            [*map(str, argv), '--out', str(tmp_path / 'out'), '--work-dir', str(tmp_path / 'work')]
        )
        assert sorted(paths) == sorted((tmp_path / 'out').iterdir())
        for path in paths * drawn:
            with Image.open(path) as image:
                image.load()
                assert image.format == 'PNG' and min(image.size) > 300 and max(image.size) < 5000
        return dict(zip((path.name for path in paths), pages))

    return start


def arrays(page: draw.Sheet, column: str) -> list[np.ndarray]:
    """What a column of a page shows, row by row."""
    panels = [row.panels[page.titles.index(column)] for row in page.rows]
    return [panel.array for panel in panels if panel is not None]


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return len(first) == len(second) > 0 and all(np.array_equal(a, b) for a, b in zip(first, second))


def test_a_distillation_config_is_drawn_at_its_distillers_taps(files, run):
    pages = run(files.config, files.full, drawn=True)
    assert list(pages) == [
        f'00000_{name}.png' for name in ('boundary', 'relation_32_32', 'feature', 'prediction')
    ]
    boundary, relation, feature, prediction = pages.values()
    assert boundary.titles == ['image, truth outlined', 'teacher', 'student']
    assert [row.label for row in boundary.rows] == ['backbone.3', 'logits', 'mean of all']
    assert len(relation.rows) == 2 and len(feature.rows) == 4 and len(prediction.rows) == 1
    assert prediction.titles == ['image', 'truth', 'teacher', 'student'] and set(prediction.legend) <= set(
        range(11)
    )
    for page in (boundary, relation, feature):
        assert not same(arrays(page, 'teacher'), arrays(page, 'student'))
    assert all(a.std() > 0 for page in (boundary, relation) for a in arrays(page, 'student'))


def test_full_and_student_only_checkpoints_give_the_same(files, run):
    pages = [run(files.config, weights) for weights in (files.full, files.student, files.other)]
    for name in pages[0]:
        assert same(arrays(pages[0][name], 'student'), arrays(pages[1][name], 'student'))
        assert same(arrays(pages[0][name], 'teacher'), arrays(pages[2][name], 'teacher'))
    assert not same(*(arrays(p['00000_boundary.png'], 'student') for p in (pages[0], pages[2])))


def test_pictures_change_with_the_image(files, run, tiny_scenes):
    pages = run(files.config, files.student, '--index', 0, 3, '--what', 'boundary', 'prediction')
    assert list(pages) == [
        '00000_boundary.png',
        '00000_prediction.png',
        '00003_boundary.png',
        '00003_prediction.png',
    ]
    first, second = (pages[f'0000{i}_boundary.png'] for i in (0, 3))
    assert not same(arrays(first, 'student'), arrays(second, 'student'))
    truth, image = (Image.open(tiny_scenes / f'val/{name}/00003.png') for name in ('labels', 'images'))
    assert np.array_equal(second.rows[0].panels[0].outline, np.asarray(truth))
    assert np.array_equal(second.rows[0].panels[0].array, np.asarray(image))


def test_a_plain_config_has_no_teacher(files, run):
    pages = run(files.plain, files.full, '--pixel', 3, 60, '--pixel', 10, 2, '--name', 'mine')
    assert [name for name in pages if 'relation' in name] == [
        '00000_relation_3_60.png',
        '00000_relation_10_2.png',
    ]
    assert pages['00000_boundary.png'].titles == ['image, truth outlined', 'mine']
    assert [row.label for row in pages['00000_boundary.png'].rows] == [
        *(f'backbone.{i}' for i in range(4)),
        'mean of all',
    ]
    relation = pages['00000_relation_3_60.png']
    stage = arrays(relation, 'mine')[0]
    assert stage.shape == (16, 16) and stage[15, 0] == stage.max() and relation.marker == (3, 60)


def test_a_plain_config_shows_the_student_of_the_distillation_config(files, run):
    argv = ['--taps', 'backbone.3', 'logits', '--what', 'boundary']
    distilled, plain = run(files.config, files.full, *argv), run(files.plain, files.full, *argv)
    assert same(
        arrays(distilled['00000_boundary.png'], 'student'), arrays(plain['00000_boundary.png'], 'network')
    )


def test_the_teacher_is_what_it_is_by_itself_with_its_own_preprocessing(files, run):
    argv = ['--taps', 'backbone.3', 'logits', '--what', 'boundary', 'feature']
    beside, alone = run(files.config, files.student, *argv), run(files.teacher_plain, files.teacher, *argv)
    for name in alone:
        assert same(arrays(beside[name], 'teacher'), arrays(alone[name], 'network'))


def test_further_checkpoints_are_columns_beside(files, run):
    page = run(
        files.config,
        files.student,
        '--beside',
        f'again={files.full}',
        '--beside',
        f'other={files.other}',
        '--taps',
        'backbone.3:backbone.1',
        '--what',
        'boundary',
    )['00000_boundary.png']
    assert (
        page.titles[1:] == ['teacher', 'student', 'again', 'other']
        and page.rows[0].label == 'backbone.3 : backbone.1'
    )
    assert same(arrays(page, 'student'), arrays(page, 'again')) and not same(
        arrays(page, 'student'), arrays(page, 'other')
    )


def test_the_teacher_is_the_one_that_is_named(files, run, folder):
    model = tiny_model(8, 'BN')
    other = save_weights(folder / 'other_teacher.pth', model, seed=5)
    argv = [files.config, files.student, '--what', 'boundary', '--index', 1]
    own, named = run(*argv), run(*argv, '--teacher-ckpt', other)
    own, named = own['00001_boundary.png'], named['00001_boundary.png']
    assert same(arrays(own, 'student'), arrays(named, 'student')) and not same(
        arrays(own, 'teacher'), arrays(named, 'teacher')
    )


def test_any_image_goes_through_the_test_pipeline(files, run, tiny_scenes, tmp_path):
    source = tiny_scenes / 'val/images/00002.png'
    copied = tmp_path / 'photo.png'
    copied.write_bytes(source.read_bytes())
    Image.open(source).resize((40, 72)).save(tmp_path / 'tall.png')
    from_file = run(files.config, files.student, '--image', copied, tmp_path / 'tall.png')
    assert from_file['photo_boundary.png'].titles[0] == 'image' and from_file['tall_boundary.png'].size == (
        72,
        40,
    )
    for path in (tmp_path / 'out').iterdir():
        path.unlink()
    of_data = run(files.config, files.student, '--index', 2)
    assert same(
        arrays(from_file['photo_boundary.png'], 'teacher'), arrays(of_data['00002_boundary.png'], 'teacher')
    )
    assert from_file['photo_prediction.png'].titles == ['image', 'teacher', 'student']


@pytest.fixture(scope='module')
def coco(folder):
    from kd_methods.scenes.writer import write_scenes

    write_scenes(folder / 'scenes_coco', train=1, val=2, size=SIZE, format='coco', workers=1)
    return [
        '--cfg-options',
        f'test_dataloader.dataset.data_root={folder}/scenes_coco',
        f'test_evaluator.ann_file={folder}/scenes_coco/annotations/instances_val2017.json',
    ]


@pytest.mark.parametrize('kind', ['retinanet', 'mask'])
def test_detectors(run, folder, coco, kind):
    student, teacher = tiny_detector(kind, 4, 10), tiny_detector(kind, 8, 10)
    cfg = dict(
        _base_=[
            str(ROOT / 'configs/_base_/datasets/scenes_inst.py'),
            str(ROOT / 'configs/_base_/default_runtime_det.py'),
        ],
        model=dict(
            type='FrozenTeacherDistill',
            architecture=student,
            teacher=teacher,
            dry_run_size=(SIZE, SIZE),
            teacher_ckpt=str(save_weights(folder / f'{kind}8.pth', teacher, scope='mmdet')),
            distiller=dict(type='DMKDDistiller'),
        ),
    )
    (folder / f'{kind}.py').write_text('\n'.join(f'{key} = {value!r}' for key, value in cfg.items()))
    weights = save_weights(folder / f'{kind}4.pth', student, scope='mmdet')
    pages = run(folder / f'{kind}.py', weights, '--score', 0, *coco, drawn=kind == 'mask')
    boundary, *_, prediction = pages.values()
    assert [row.label for row in boundary.rows][:2] == ['neck.0', 'neck.1']
    stride = dict(retinanet=8, mask=4)[kind]
    assert arrays(boundary, 'student')[0].shape == (96 // stride,) * 2, 'the pipeline resizes to 96 x 96'
    truth = prediction.rows[0].panels[prediction.titles.index('truth')].boxes
    assert truth and all(0 <= v <= SIZE for box in truth for v in box.corners)
    found = prediction.rows[0].panels[-1].boxes
    assert found and all(0 <= v <= SIZE for box in found for v in box.corners)
    assert (found[0].mask is not None) == (kind == 'mask')


def test_a_transformer_student(run, folder, tiny_scenes):
    config = 'configs/baselines/segformer_mit-e16_scenes.py'
    weights = save_weights(folder / 'segformer.pth', dict(cfg_path=config))
    pages = run(ROOT / config, weights, '--cfg-options', f'test_dataloader.dataset.data_root={tiny_scenes}')
    assert [a.shape for a in arrays(pages['00000_boundary.png'], 'network')] == [
        (16, 16),
        (8, 8),
        (4, 4),
        (2, 2),
        (16, 16),
    ]


@pytest.fixture(scope='module')
def rgbx(folder):
    """Arguments of an RGB-D teacher and an RGB student, whose test data has no depth."""
    from kd_methods.scenes.writer import write_scenes

    write_scenes(folder / 'rgbd', train=1, val=2, size=SIZE, depth=True, workers=1)
    pair = 'lix/lix_pspnet_duplex-r18-w16_pspnet_r18-w16_scenesrgbd.py'
    student, teacher = (
        save_weights(folder / f'{name}.pth', dict(cfg_path=f'configs/baselines/{name}.py'))
        for name in ('pspnet_r18-w16_scenesrgbd', 'pspnet_duplex-r18-w16_scenesrgbd')
    )
    return [
        ROOT / 'configs' / pair,
        student,
        '--teacher-ckpt',
        teacher,
        '--cfg-options',
        f'test_dataloader.dataset.data_root={folder}/rgbd',
    ]


def test_an_rgbx_teacher_sees_x_and_the_student_does_not(run, rgbx, folder):
    pages = run(*rgbx)
    depth = folder / 'rgbd/val/depths/00000.png'
    content = depth.read_bytes()
    try:
        Image.fromarray(np.random.default_rng(0).integers(2000, 9000, (SIZE, SIZE)).astype(np.uint16)).save(
            depth
        )
        other = run(*rgbx)
    finally:
        depth.write_bytes(content)
    first, second = pages['00000_boundary.png'], other['00000_boundary.png']
    assert same(arrays(first, 'student'), arrays(second, 'student'))
    assert not same(arrays(first, 'teacher'), arrays(second, 'teacher'))


def test_a_file_alone_has_no_x(run, rgbx, folder):
    with pytest.raises(ValueError, match='--image: a network of this config sees X .*--index'):
        run(*rgbx, '--image', folder / 'rgbd/val/images/00000.png')


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    'argv, error, text',
    [
        (
            ['--index', '0', '5'],
            ValueError,
            r'--index 5: the test data set \(SceneDataset\) has 5 images, 0 to 4',
        ),
        (['--index', '-1'], ValueError, '--index -1'),
        (['--image', 'no.png'], FileNotFoundError, "--image: no file 'no.png'"),
        (['--image', __file__], ValueError, '--image: .*cannot be read as an image'),
        (
            ['--pixel', '64', '0'],
            ValueError,
            r'--pixel 64 0: .*is 64 pixels wide and 64 high, so X is 0 to 63',
        ),
        (['--pixel', '0', '-1'], ValueError, '--pixel 0 -1'),
        (['--taps', 'backbon.3'], KeyError, '--taps: no module .*Did you mean'),
        (['--taps', 'backbone.7'], ValueError, 'out of range'),
        (['--beside', 'alone.pth'], ValueError, '--beside alone.pth: expected NAME=CKPT'),
        (['--beside', '=alone.pth'], ValueError, 'expected NAME=CKPT'),
        (
            ['--beside', 'teacher=alone.pth'],
            ValueError,
            "--beside teacher=alone.pth: there is a column 'teacher' already",
        ),
        (['--beside', 'alone=none.pth'], FileNotFoundError, "--beside alone: no file 'none.pth'"),
        (
            ['--teacher-ckpt', 'none.pth'],
            FileNotFoundError,
            "model.teacher_ckpt: no file 'none.pth'.*--teacher-ckpt",
        ),
        (['--tau', '0'], ValueError, '--tau 0 must be above 0'),
        (['--launcher', 'pytorch'], ValueError, '--launcher pytorch: one process draws'),
        (['--click'], ValueError, '--click: no window can be opened here.*--pixel X Y'),
        (
            ['--cfg-options', 'model.teacher_ckpt=None'],
            ValueError,
            'model.teacher_ckpt is not set.*--teacher-ckpt.*student_config.py',
        ),
        (
            ['--cfg-options', 'model.type=mmrazor.SingleTeacherDistill'],
            ValueError,
            'model.type: .*FrozenTeacherDistill',
        ),
        (['--cfg-options', 'test_dataloader=None'], ValueError, 'CONFIG has no test_dataloader.dataset'),
        (
            ['--cfg-options', 'test_dataloader.dataset.data_root=nowhere'],
            FileNotFoundError,
            'make_scenes.py --out nowhere',
        ),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(files, run, monkeypatch, tmp_path, argv, error, text):
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(error, match=text):
        run(files.config, files.student, *argv)
    assert list(tmp_path.iterdir()) == []


def test_mistakes_about_checkpoints(files, run, tmp_path):
    with pytest.raises(FileNotFoundError, match='CKPT: no file .*no.pth'):
        run(files.config, 'no.pth')
    with pytest.raises(
        ValueError, match="The weights of the network of column 'student' .*do not fit EncoderDecoder"
    ):
        run(files.config, files.teacher)
    with pytest.raises(ValueError, match='--teacher-ckpt: .*is a plain config, which has no teacher'):
        run(files.plain, files.student, '--teacher-ckpt', files.teacher)
    torch.save(
        dict(state_dict=torch.load(files.student)['state_dict'], extra=_Payload()), tmp_path / 'bad.pth'
    )
    with pytest.raises(ValueError, match='could run code.*--trusted'):
        run(files.plain, tmp_path / 'bad.pth')
    assert run(files.plain, tmp_path / 'bad.pth', '--trusted', '--what', 'boundary')


class _Payload:
    def __reduce__(self):
        return str, ('code',)
