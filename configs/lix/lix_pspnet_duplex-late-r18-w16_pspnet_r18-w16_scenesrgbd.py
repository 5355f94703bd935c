_base_ = ['./lix_pspnet_duplex-r18-w16_pspnet_r18-w16_scenesrgbd.py']
model = dict(
    teacher=dict(cfg_path='configs/baselines/pspnet_duplex-late-r18-w16_scenesrgbd.py'),
    teacher_ckpt='work_dirs/pspnet_duplex-late-r18-w16_scenesrgbd/best.pth',
    # Against the one map that RGB and X have in common, ARFD did harm on the scenes.
    distiller=dict(arfd=None),
)
