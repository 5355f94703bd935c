# The published places, weights and reductions, and no task loss. The direction of PDD and the pool are this
# project's.
_base_ = ['./c2vkd_deeplabv3plus_r101-d8_fpn_pvtv2-b0_8xb3-50k_voc12aug-512x512.py']
model = dict(
    calculate_student_loss=False,
    distiller=dict(
        _delete_=True,
        type='C2VKDDistiller',
        student_feature='backbone.-1',
        teacher_feature='backbone.-1',
        vlfd=dict(reduction='element', gram_scale='channel'),
    ),
)
