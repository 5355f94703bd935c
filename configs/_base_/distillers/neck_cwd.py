# Channel-wise distillation of a neck's five levels, with the temperature and weight of MMRazor's recipe.
neck_cwd = dict(
    type='MethodDistiller',
    taps={f'level_{i}': f'neck.{i}' for i in range(5)},
    distill_losses={
        f'loss_cwd_{i}': dict(type='mmrazor.ChannelWiseDivergence', tau=1.0, loss_weight=10.0)
        for i in range(5)
    },
    loss_forward_mappings={
        f'loss_cwd_{i}': dict(
            preds_S=dict(from_student=True, recorder=f'level_{i}'),
            preds_T=dict(from_student=False, recorder=f'level_{i}'),
        )
        for i in range(5)
    },
)
