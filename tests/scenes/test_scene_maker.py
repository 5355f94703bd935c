from pathlib import Path

import numpy as np
import pytest
from entry import run_tool
from toys import load_tool

from kd_methods.scenes.maker import DIFFICULTY, look_of, make_scene, scene_at
from kd_methods.scenes.sources import load_sources, split_digits
from kd_methods.scenes.writer import RECORD, write_scenes
from kd_methods.utils.files import exclusive_folder

SMALL = dict(train=5, val=3, size=40)


def scenes(count=20, split='train', **kwargs):
    return [scene_at(3, split, index, **kwargs) for index in range(count)]


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob('*'))
        if path.is_file()
    }


def test_scene_is_a_function_of_its_arguments():
    first, again = scene_at(1, 'val', 4), scene_at(1, 'val', 4)
    for name in ('image', 'label', 'boxes', 'classes', 'instances', 'depth'):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    for other in (scene_at(2, 'val', 4), scene_at(1, 'train', 4), scene_at(1, 'val', 5)):
        assert not np.array_equal(first.image, other.image)


def test_same_bytes_for_any_number_of_workers(tmp_path):
    assert write_scenes(tmp_path / 'one', workers=1, **SMALL)
    assert write_scenes(tmp_path / 'two', workers=2, **SMALL)
    one = contents(tmp_path / 'one')
    assert one == contents(tmp_path / 'two')
    assert len(one) == 2 * (5 + 3) + 1
    assert write_scenes(tmp_path / 'other', workers=1, seed=1, **SMALL)
    assert one['train/images/00000.png'] != (tmp_path / 'other/train/images/00000.png').read_bytes()


def test_first_scenes_do_not_depend_on_the_count(tmp_path):
    write_scenes(tmp_path / 'few', train=2, val=1, size=40, workers=1)
    write_scenes(tmp_path / 'more', train=4, val=3, size=40, workers=1)
    few, more = contents(tmp_path / 'few'), contents(tmp_path / 'more')
    assert all(more[name] == data for name, data in few.items() if name != RECORD)


def test_splits_share_no_digit_and_no_photo_column():
    train, val = load_sources('train'), load_sources('val')
    assert not set(train.indices) & set(val.indices)
    assert set(train.digits) == set(val.digits) == set(range(10))
    widths = [a.shape[1] + b.shape[1] for a, b in zip(train.photos, val.photos)]
    assert widths == [640, 640]
    assert not any((glyph == val.glyphs).all((1, 2)).any() for glyph in train.glyphs)


def test_every_class_gives_a_fifth_to_val():
    targets = np.arange(100) % 10
    train, val = split_digits(targets, 'train'), split_digits(targets, 'val')
    assert sorted([*train, *val]) == list(range(100))
    assert np.bincount(targets[val]).tolist() == [2] * 10
    assert val.min() == 80


def test_label_covers_the_visible_signs_and_nothing_else():
    for scene in scenes():
        assert scene.image.shape == (96, 96, 3) and scene.image.dtype == np.uint8
        assert scene.label.dtype == np.uint8 and len(scene.classes) >= 1
        assert ((scene.classes >= 0) & (scene.classes < 10)).all()
        assert np.array_equal(scene.label > 0, scene.instances.any(0))
        for mask, digit in zip(scene.instances, scene.classes):
            assert (scene.label[mask] == digit + 1).all()
            # The whole sign, not the strokes: a disc of this size, less what may be hidden.
            assert mask.sum() > 0.25 * 0.785 * (look_of(DIFFICULTY).size[0] * 96) ** 2


def test_boxes_are_tight():
    for scene in scenes(difficulty=1.0):
        for mask, (x1, y1, x2, y2) in zip(scene.instances, scene.boxes.astype(int)):
            assert mask[y1:y2, x1:x2].sum() == mask.sum() > 0
            assert mask[y1:y2, x1].any() and mask[y1:y2, x2 - 1].any()
            assert mask[y1, x1:x2].any() and mask[y2 - 1, x1:x2].any()


def test_instances_are_disjoint_and_flat_and_before_the_background():
    for scene in scenes(difficulty=1.0):
        assert (scene.instances.sum(0) <= 1).all()
        assert np.isfinite(scene.depth).all() and (scene.depth > 0).all()
        for mask in scene.instances:
            assert len(np.unique(scene.depth[mask])) == 1
            assert scene.depth[mask].max() < 12.0


def test_depth_shows_embossed_digits():
    """Within a sign, depth has two levels: strokes and face."""
    embossed = 0
    for scene in scenes(30, difficulty=0.3, camouflage=1.0):
        for mask in scene.instances:
            levels = np.unique(scene.depth[mask])
            assert len(levels) <= 2  # one where a bar or another sign hides all strokes
            if len(levels) == 2:
                assert levels[0] == pytest.approx(0.75 * levels[1], rel=1e-5)
                assert 0.02 < (mask & (scene.depth == levels[0])).sum() / mask.sum() < 0.6
                embossed += 1
    assert embossed > 40


def test_camouflage_hides_the_ink():
    def ink_contrast(camouflage):
        values = []
        for index in range(40):
            scene = scene_at(0, 'train', index, difficulty=0.0, camouflage=camouflage)
            for mask in scene.instances:
                levels = np.unique(scene.depth[mask])
                if len(levels) == 2:
                    ink = mask & (scene.depth == levels[0])
                    grey = scene.image.astype(float).mean(2)
                    values.append(abs(grey[ink].mean() - grey[mask & ~ink].mean()))
        return np.median(values)

    # 1e-9: embossed, but practically never hidden
    assert ink_contrast(1.0) < 0.3 * ink_contrast(1e-9)


def test_without_camouflage_scenes_are_what_they_were():
    plain, other = scene_at(0, 'train', 3), scene_at(0, 'train', 3, camouflage=0.0)
    assert np.array_equal(plain.image, other.image)
    with pytest.raises(ValueError, match='camouflage: got 1.5'):
        scene_at(0, 'train', 3, camouflage=1.5)


def test_nearer_signs_hide_farther_ones(monkeypatch):
    from kd_methods.scenes import maker as scene_maker

    placed = []
    place = scene_maker._place

    def keep(*args):
        placed.append(place(*args))
        return placed[-1]

    monkeypatch.setattr(scene_maker, '_place', keep)
    overlaps, drawn = 0, scenes(30, difficulty=0.5)
    for scene, signs in zip(drawn, placed):
        for i, (far, far_depth, *_) in enumerate(signs):
            for near, near_depth, *_ in signs[i + 1 :]:
                assert near_depth <= far_depth
                both = far & near
                overlaps += both.any()
                # Where two signs meet, one sees a depth no larger than the nearer one's.
                assert (scene.depth[both] <= np.float32(near_depth)).all()
    assert overlaps > 5


def test_difficulty_makes_scenes_harder():
    easy, hard = look_of(0), look_of(1)
    assert easy.size[0] > hard.size[0] and easy.contrast[0] > hard.contrast[0]
    assert easy.noise < hard.noise and easy.textured < hard.textured and easy.bars < hard.bars
    area = [
        np.mean([mask.sum() for scene in scenes(30, difficulty=level) for mask in scene.instances])
        for level in (0.0, 1.0)
    ]
    assert area[0] > 1.2 * area[1]


def test_size_scales_the_signs():
    small, large = (
        np.mean([(scene.label > 0).mean() for scene in scenes(30, size=size)]) for size in (48, 144)
    )
    assert scene_at(0, 'train', 0, size=48).depth.shape == (48, 48)
    assert small == pytest.approx(large, rel=0.2)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(size=16), 'size: got 16'),
        (dict(difficulty=1.5), r'difficulty: got 1.5, expected a number from 0 to 1'),
    ],
)
def test_bad_scene_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_scene(np.random.default_rng(0), load_sources('train'), **kwargs)
    with pytest.raises(ValueError, match=r"split: got 'test', expected one of"):
        scene_at(0, 'test', 0)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(train=0), 'train: got 0 scenes'),
        (dict(val=-1), 'val: got -1 scenes'),
        (dict(size=8), 'size: got 8'),
        (dict(seed=-1), 'seed: got -1'),
        (dict(difficulty=-0.1), 'difficulty: got -0.1'),
        (dict(workers=0), 'workers: got 0'),
    ],
)
def test_bad_writer_arguments_leave_nothing(tmp_path, kwargs, message):
    with pytest.raises(ValueError, match=message):
        write_scenes(tmp_path / 'out', **{**SMALL, **kwargs})
    assert not (tmp_path / 'out').exists()


def test_interrupted_run_is_written_anew(tmp_path, monkeypatch):
    from kd_methods.scenes import writer as scene_writer

    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    write_scenes(whole, workers=1, **SMALL)
    draw = scene_writer.scene_at

    def stop_at_third(seed, split, index, **kwargs):
        if index == 2:
            raise KeyboardInterrupt
        return draw(seed, split, index, **kwargs)

    monkeypatch.setattr(scene_writer, 'scene_at', stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        write_scenes(broken, workers=1, **SMALL)
    assert not (broken / RECORD).exists()
    (broken / 'train/images/00001.png').write_bytes(b'half a file')
    (broken / 'train/images/99999.png').write_bytes(b'from a larger run')
    monkeypatch.setattr(scene_writer, 'scene_at', draw)
    assert write_scenes(broken, workers=1, **SMALL)
    assert contents(broken) == contents(whole)


def test_one_run_at_a_time_writes_into_a_folder(tmp_path):
    """A second one with another seed would take what the first has written for the rest of an interrupted
    run.
    """
    with exclusive_folder(tmp_path):
        with pytest.raises(ValueError, match='another process is writing here'):
            write_scenes(tmp_path, **SMALL)
        assert not any(tmp_path.iterdir())
    assert write_scenes(tmp_path, **SMALL)


@pytest.mark.parametrize('below', ['', 'x', 'x/y'])
def test_a_file_in_place_of_the_folder_is_named(tmp_path, below):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ValueError, match='file.* is a file or lies below one, expected a folder'):
        write_scenes(tmp_path / 'file' / below, **SMALL)


def test_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / 'thesis.tex').write_text('years of work')
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r'is not empty and holds no scenes.json.*thesis'):
            write_scenes(tmp_path, overwrite=overwrite, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']


def test_command_line(tmp_path, capsys):
    tool, out = load_tool('data/make_scenes'), tmp_path / 'scenes'
    args = [*f'--out {out} --train 4 --val 2 --size 40 --workers 1'.split()]
    assert tool.main(args) == 0
    assert '4 train and 2 val scenes' in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*')}

    assert tool.main(args) == 0
    assert 'nothing to do' in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob('*')}

    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: tool.main([*args, '--seed', '7']))
    error = capsys.readouterr().err
    assert (
        ended.value.code == 1
        and 'seed 0 there, 7 asked' in error
        and 'another --out, or --overwrite' in error
    )
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob('*')}

    assert tool.main([*args, '--seed', '7', '--overwrite']) == 0
    assert '4 train and 2 val scenes' in capsys.readouterr().out
