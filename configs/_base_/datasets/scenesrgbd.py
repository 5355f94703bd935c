# The RGB-D scenes for a network of RGB and depth, in training and test.
_base_ = ['./scenesrgbd_rgb_student.py']
test_pipeline = _base_.train_pipeline
val_dataloader = dict(dataset=dict(data_prefix=dict(x_path='val/depths'), pipeline=test_pipeline))
test_dataloader = val_dataloader
