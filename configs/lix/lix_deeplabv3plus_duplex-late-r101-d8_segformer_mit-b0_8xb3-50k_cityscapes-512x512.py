_base_ = ['./lix_deeplabv3plus_duplex-r101-d8_segformer_mit-b0_8xb3-50k_cityscapes-512x512.py']
model = dict(
    teacher=dict(
        cfg_path='configs/baselines/deeplabv3plus_duplex-late-r101-d8_8xb3-50k_cityscapes-512x512.py'
    ),
    teacher_ckpt='work_dirs/deeplabv3plus_duplex-late-r101-d8_8xb3-50k_cityscapes-512x512/best.pth',
    # Against the one map that RGB and X have in common, ARFD did harm on the scenes.
    distiller=dict(arfd=None),
)
