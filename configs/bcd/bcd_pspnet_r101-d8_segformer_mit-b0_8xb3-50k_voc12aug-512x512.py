# mmseg trained and tested this teacher (78.52 mIoU) on images enlarged to a shorter side of 512; here they
# keep their size.
_base_ = [
    '../_base_/distillers/bcd.py',
    '../_base_/datasets/voc12_aug_512x512.py',
    '../_base_/schedules/schedule_50k_b24_adamw.py',
]
train_dataloader = dict(batch_size=3)
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/segformer_mit-b0_8xb3-50k_voc12aug-512x512.py'),
    teacher=dict(cfg_path='mmseg::pspnet/pspnet_r101-d8_4xb4-40k_voc12aug-512x512.py'),
    # noqa: E251
    teacher_ckpt='https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/pspnet_r101-d8_512x512_40k_voc12aug/pspnet_r101-d8_512x512_40k_voc12aug_20200613_161222-bc933b18.pth',  # noqa: E501
    distiller=_base_.bcd,
)
