# The teacher has 37.76 mIoU in mmseg's list.
_base_ = [
    '../_base_/distillers/bcd.py',
    '../_base_/datasets/coco-stuff10k_512x512.py',
    '../_base_/schedules/schedule_40k_b16.py',
]
train_dataloader = dict(batch_size=2)
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/pspnet_r18-d8_8xb2-40k_coco-stuff10k-512x512.py'),
    teacher=dict(cfg_path='mmseg::pspnet/pspnet_r101-d8_4xb4-40k_coco-stuff10k-512x512.py'),
    # noqa: E251
    teacher_ckpt='https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/pspnet_r101-d8_512x512_4x4_40k_coco-stuff10k/pspnet_r101-d8_512x512_4x4_40k_coco-stuff10k_20210821_014022-831aec95.pth',  # noqa: E501
    distiller=_base_.bcd,
)
