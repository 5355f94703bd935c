"""Images without labels in a batch: where they come from, how many, and that nothing reads their labels."""

import shutil
from collections import Counter
from itertools import islice
from pathlib import Path

import mmseg.registry
import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from torch.utils.data import ConcatDataset
from toys import tiny_model, tiny_run, write_config

from kd_methods.datasets.unlabelled import ShareSampler, UnlabelledDataset

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=(48, 48), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]


@pytest.fixture
def scenes(tiny_scenes, tmp_path):
    """Scenes without label files."""
    root = Path(shutil.copytree(tiny_scenes, tmp_path / 'scenes'))
    shutil.rmtree(root / 'train' / 'labels')
    return root


def entry(root, **keys):
    prefix = dict(img_path='train/images', seg_map_path='train/labels')
    return dict(type='SceneDataset', data_root=str(root), data_prefix=prefix, pipeline=PIPELINE, **keys)


def unlabelled(root, **keys):
    with DATASETS.switch_scope_and_registry('mmseg') as registry:
        return registry.build(dict(type='UnlabelledDataset', dataset=entry(root), **keys))


@pytest.mark.parametrize('ignored', [255, 7])
def test_no_label_file_is_read(scenes, ignored):
    sample = unlabelled(scenes, ignore_index=ignored)[3]['data_samples']
    assert sample.metainfo['unlabelled']
    assert sample.gt_sem_seg.data.shape == (1, 48, 48) and sample.gt_sem_seg.data.unique().tolist() == [
        ignored
    ]


def test_images_are_those_of_the_labelled_data_set(tiny_scenes):
    """The same augmentation too: a crop and a flip draw as often."""
    with DATASETS.switch_scope_and_registry('mmseg') as registry:
        labelled = registry.build({**entry(tiny_scenes), 'pipeline': PIPELINE[:2] + PIPELINE[3:]})
        free = registry.build(
            dict(
                type='UnlabelledDataset',
                dataset={**entry(tiny_scenes), 'pipeline': PIPELINE[:2] + PIPELINE[3:]},
            )
        )
    for dataset in (labelled, free):
        np.random.seed(0)
        dataset.seen = dataset[5]['inputs']
    assert torch.equal(labelled.seen, free.seen) and len(free) == len(labelled) == 16
    assert free.metainfo == labelled.metainfo


def test_a_data_set_without_a_pipeline_of_images_is_refused(tiny_scenes):
    with pytest.raises(TypeError, match=r'UnlabelledDataset.dataset must be .*LoadImageFromFile'):
        UnlabelledDataset(ConcatDataset([[1]]))


@pytest.fixture
def joined():
    return ConcatDataset([list(range(3)), list(range(100, 110))])


def batches(sampler, number, size=4):
    stream = iter(sampler)
    return [list(islice(stream, size)) for _ in range(number)]


def test_every_batch_has_its_share(joined):
    for batch in batches(ShareSampler(joined, (1, 3), seed=0), 20):
        assert sum(i < 3 for i in batch) == 1 and sum(3 <= i < 13 for i in batch) == 3


def test_each_part_is_passed_through_before_any_sample_comes_again(joined):
    flat = [i for batch in batches(ShareSampler(joined, (1, 3), seed=0), 30) for i in batch]
    few, many = [i for i in flat if i < 3], [i for i in flat if i >= 3]
    assert set(Counter(few).values()) == {10} and set(Counter(many).values()) == {9}
    assert all(set(few[i : i + 3]) == {0, 1, 2} for i in range(0, 30, 3))
    assert few[:12] != sorted(few[:3]) * 4  # anew after each pass


def test_a_resumed_stream_goes_on(joined):
    whole = [i for batch in batches(ShareSampler(joined, (1, 3), seed=5), 12) for i in batch]
    later = ShareSampler(joined, (1, 3), seed=5)
    later.skip(7 * 4)
    assert [i for batch in batches(later, 5) for i in batch] == whole[28:]
    assert batches(ShareSampler(joined, (1, 3), seed=6), 3) != batches(
        ShareSampler(joined, (1, 3), seed=5), 3
    )


def test_processes_share_the_samples(joined, monkeypatch):
    seen = []
    for rank in range(2):
        monkeypatch.setattr('kd_methods.datasets.unlabelled.get_dist_info', lambda rank=rank: (rank, 2))
        seen.append([i for b in batches(ShareSampler(joined, (1, 3), seed=1), 5) for i in b if i >= 3])
    assert len(seen[0]) == len(seen[1]) == 15
    assert set(Counter(seen[0] + seen[1]).values()) == {3}  # 30 of 10, none twice before all came


@pytest.mark.parametrize('counts', [(1,), (1, -1), (0, 0), (1, 2.0)])
def test_counts_that_do_not_fit_are_told(joined, counts):
    with pytest.raises(ValueError, match=r'train_dataloader.sampler.counts: .* 2 data sets of ConcatDataset'):
        ShareSampler(joined, counts)


@pytest.fixture
def run(scenes, tiny_scenes, tmp_path, tools):
    """`run(**head)` trains a tiny student on two labelled and two unlabelled images a batch."""

    def start(*arguments, iters=4, **head):
        cfg = dict(tiny_run(tiny_scenes, iters, batch_size=4), model=tiny_model(4))
        for part in ('decode_head', 'auxiliary_head'):
            cfg['model'][part].update(loss_decode=dict(type='CrossEntropyLoss', **head))
        parts = [entry(tiny_scenes), dict(type='UnlabelledDataset', dataset=entry(scenes))]
        loader = cfg['train_dataloader']
        loader.update(
            sampler=dict(type='ShareSampler', counts=(2, 2)),
            dataset=dict(type='ConcatDataset', datasets=parts),
        )
        config = write_config(tmp_path / 'config.py', cfg)
        return tools.train([str(config), '--work-dir', str(tmp_path / 'work'), *arguments])

    return start


def test_a_run_reads_no_label_of_them(run):
    """Its look at the data included, which would miss the files."""
    runner = run(avg_non_ignore=True)
    assert runner.iter == 4 and runner.train_loop.dataloader.sampler.counts == (2, 2)


def test_a_task_loss_that_counts_their_pixels_is_refused(run):
    with pytest.raises(
        ValueError, match=r'(?s)train_dataloader: .*avg_non_ignore=True in decode_head.loss_decode'
    ):
        run(avg_non_ignore=False)


def test_a_student_learns_from_the_teacher_alone(scenes, tiny_scenes, tmp_path, tools):
    """No image has a label, and no warning says that nothing is learnt."""
    cfg = dict(tiny_run(tiny_scenes, 20, batch_size=2))
    cfg['model'] = dict(
        type='FrozenTeacherDistill',
        architecture=tiny_model(4),
        teacher=tiny_model(8),
        distiller=dict(type='LogitKDDistiller'),
        calculate_student_loss=False,
    )
    cfg['train_dataloader'].update(dataset=dict(type='UnlabelledDataset', dataset=entry(scenes)))
    config = write_config(tmp_path / 'config.py', cfg)
    with pytest.warns(UserWarning, match='teacher_ckpt is not set'):
        tools.train([str(config), '--work-dir', str(tmp_path / 'work')])
    log = ''.join(path.read_text() for path in (tmp_path / 'work').rglob('*.log'))
    assert 'distill.loss_kd' in log and 'were ignored' not in log


def test_mmseg_finds_them():
    assert mmseg.registry.DATASETS.get('UnlabelledDataset') is UnlabelledDataset
