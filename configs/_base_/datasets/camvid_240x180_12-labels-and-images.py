# CamVid of which every 32nd training image has labels; a batch has two of these, and six of all images, of
# which no label is read.
_base_ = ['./camvid_240x180.py']
images = dict(
    type='CamVidDataset',
    data_root={{_base_.data_root}},
    ann_file='train.txt',
    pipeline={{_base_.train_pipeline}},
)
labelled = list(range(0, 367, 32))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='ShareSampler', counts=(2, 6)),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[dict(**images, indices=labelled), dict(type='UnlabelledDataset', dataset=images)],
    ),
)
