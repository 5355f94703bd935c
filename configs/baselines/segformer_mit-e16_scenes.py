# The vision transformer student of the scenes: embedding of 16, half of MiT-B0's.
_base_ = [
    '../_base_/models/segformer_mit-e16.py',
    '../_base_/datasets/scenes_seg.py',
    '../_base_/schedules/scenes_student_vit.py',
    '../_base_/default_runtime.py',
]
model = dict(decode_head=dict(num_classes=11))
