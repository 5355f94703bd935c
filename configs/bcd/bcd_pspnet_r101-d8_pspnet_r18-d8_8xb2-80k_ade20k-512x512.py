# Of mmseg's two teachers of this kind the better: 44.39 mIoU after 160k iterations.
_base_ = [
    '../_base_/distillers/bcd.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/schedule_80k_b16.py',
]
train_dataloader = dict(batch_size=2)
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/pspnet_r18-d8_8xb2-80k_ade20k-512x512.py'),
    teacher=dict(cfg_path='mmseg::pspnet/pspnet_r101-d8_4xb4-160k_ade20k-512x512.py'),
    # noqa: E251
    teacher_ckpt='https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/pspnet_r101-d8_512x512_160k_ade20k/pspnet_r101-d8_512x512_160k_ade20k_20200615_100650-967c316f.pth',  # noqa: E501
    distiller=_base_.bcd,
)
