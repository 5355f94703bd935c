# SegFormer on a Mix Transformer of half B0's width that starts from nothing: no download.
_base_ = ['mmseg::_base_/models/segformer_mit-b0.py']
norm_cfg = dict(type='BN', requires_grad=True)  # SyncBN needs CUDA
model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(embed_dims=16, drop_path_rate=0.0),
    decode_head=dict(
        in_channels=[16, 32, 80, 128],
        channels=64,
        norm_cfg=norm_cfg,
        init_cfg=dict(type='Normal', std=0.05, override=dict(name='conv_seg')),
    ),
)
