# The setting of MMRazor's table, 4 GPUs: teacher 79.76 mIoU, student alone 74.87, with CWD 75.54.
_base_ = ['../baselines/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py', '../_base_/distillers/bcd.py']
model = dict(
    _delete_=True,
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'),
    teacher=dict(cfg_path='mmseg::pspnet/pspnet_r101-d8_4xb2-80k_cityscapes-512x1024.py'),
    # noqa: E251
    teacher_ckpt='https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/pspnet_r101-d8_512x1024_80k_cityscapes/pspnet_r101-d8_512x1024_80k_cityscapes_20200606_112211-e1e1100f.pth',  # noqa: E501
    distiller=_base_.bcd,
)
