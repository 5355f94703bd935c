# A vision transformer as the RGB student of the RGB-D scenes.
_base_ = [
    '../_base_/models/segformer_mit-e16.py',
    '../_base_/datasets/scenesrgbd_rgb.py',
    '../_base_/schedules/scenes_student_vit.py',
    '../_base_/default_runtime.py',
]
model = dict(decode_head=dict(num_classes=11))
