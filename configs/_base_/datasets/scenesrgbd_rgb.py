# The RGB-D scenes for a network of RGB: the image hardly shows some of the digits, depth shows them.
# `python tools/data/make_scenes.py --out data/scenes_rgbd --depth --camouflage 0.5`
_base_ = ['./scenes_seg.py']
data_root = 'data/scenes_rgbd/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
