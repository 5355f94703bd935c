# Sign scenes on half of whose signs the image hardly shows the digit; RGB alone.
# `python tools/data/make_scenes.py --out data/scenes_rgbd --depth --camouflage 0.5`
_base_ = ['./scenes_seg.py']
data_root = 'data/scenes_rgbd/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
