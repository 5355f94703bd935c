# PKD of a neck's first four levels, with the weight of MMRazor's recipe.
neck_pkd = dict(
    type='MethodDistiller',
    taps={f'level_{i}': f'neck.{i}' for i in range(4)},
    distill_losses={f'loss_pkd_{i}': dict(type='mmrazor.PKDLoss', loss_weight=10.0) for i in range(4)},
    loss_forward_mappings={
        f'loss_pkd_{i}': dict(
            preds_S=dict(from_student=True, recorder=f'level_{i}'),
            preds_T=dict(from_student=False, recorder=f'level_{i}'),
        )
        for i in range(4)
    },
)
