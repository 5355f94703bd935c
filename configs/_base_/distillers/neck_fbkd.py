# FBKD of a RetinaNet neck's P3 to P5, with the weights and, at equal strides, the pooling of MMRazor's recipe
# (P2 to P5 of a Faster R-CNN). Its connectors pool by 2 and then by maxpool_stride (2 where none is said), so
# a level needs four places a side: P5 has them in a batch of 128 pixels or more, P6 would not on COCO's long
# images.
non_local = dict(in_channels=256, mode='dot_product', sub_sample=True)
pooling = [dict(reduction=4, maxpool_stride=4), dict(), dict()]
neck_fbkd = dict(
    type='MethodDistiller',
    taps={f'level_{i}': f'neck.{i}' for i in range(3)},
    connectors={
        f'{side}_{i}': dict(non_local, **pooling[i], type=f'mmrazor.FBKD{side.title()}Connector')
        for i in range(3)
        for side in ('student', 'teacher')
    },
    distill_losses={f'loss_fbkd_{i}': dict(type='mmrazor.FBKDLoss') for i in range(3)},
    loss_forward_mappings={
        f'loss_fbkd_{i}': dict(
            s_input=dict(from_student=True, recorder=f'level_{i}', connector=f'student_{i}'),
            t_input=dict(from_student=False, recorder=f'level_{i}', connector=f'teacher_{i}'),
        )
        for i in range(3)
    },
)
