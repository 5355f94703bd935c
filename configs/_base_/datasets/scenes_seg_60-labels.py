# The sign scenes of which the first 60 of 3,000 have labels.
_base_ = ['./scenes_seg.py']
train_dataloader = dict(dataset=dict(indices=60))
