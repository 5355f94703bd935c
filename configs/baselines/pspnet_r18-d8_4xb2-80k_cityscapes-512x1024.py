# mmseg's own recipe and augmentation, which MMRazor distils under.
_base_ = ['mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py']
custom_imports = dict(imports=['kd_methods'], allow_failed_imports=False)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='mIoU'))
randomness = dict(seed=0)
