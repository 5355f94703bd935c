_base_ = ['./lix_deeplabv3plus_duplex-r101-d8_segformer_mit-b0_4xb2-50k_nyuv2-480x640.py']
model = dict(
    teacher=dict(cfg_path='configs/baselines/deeplabv3plus_duplex-late-r101-d8_4xb2-50k_nyuv2-480x640.py'),
    teacher_ckpt='work_dirs/deeplabv3plus_duplex-late-r101-d8_4xb2-50k_nyuv2-480x640/best.pth',
    # Against the one map that RGB and X have in common, ARFD did harm on the scenes.
    distiller=dict(arfd=None),
)
