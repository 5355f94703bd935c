# The sign scenes of which the first 60 have labels; a batch has four of these, and twelve of all scenes, of
# which no label is read.
_base_ = ['./scenes_seg.py']
images = dict(
    type='SceneDataset',
    data_root={{_base_.data_root}},
    data_prefix=dict(img_path='train/images', seg_map_path='train/labels'),
    pipeline={{_base_.train_pipeline}},
)
train_dataloader = dict(
    sampler=dict(_delete_=True, type='ShareSampler', counts=(4, 12)),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[dict(**images, indices=60), dict(type='UnlabelledDataset', dataset=images)],
    ),
)
