# FBKD of a neck's first levels (a last level of one place has nothing to pool), with the weights of MMRazor's recipe.
non_local = dict(in_channels=256, mode='dot_product', sub_sample=True)
strides = [dict(reduction=4, maxpool_stride=8), dict(reduction=4, maxpool_stride=4), dict(), dict()]
neck_fbkd = dict(
    type='MethodDistiller',
    taps={f'level_{i}': f'neck.{i}' for i in range(4)},
    connectors={
        f'{side}_{i}': dict(non_local, **strides[i], type=f'mmrazor.FBKD{side.title()}Connector')
        for i in range(4)
        for side in ('student', 'teacher')
    },
    distill_losses={f'loss_fbkd_{i}': dict(type='mmrazor.FBKDLoss') for i in range(4)},
    loss_forward_mappings={
        f'loss_fbkd_{i}': dict(
            s_input=dict(from_student=True, recorder=f'level_{i}', connector=f'student_{i}'),
            t_input=dict(from_student=False, recorder=f'level_{i}', connector=f'teacher_{i}'))
        for i in range(4)
    })
