# MGD of a neck's five levels, with the weight and the ratio of MMRazor's recipe.
neck_mgd = dict(
    type='MethodDistiller',
    taps={f'level_{i}': f'neck.{i}' for i in range(5)},
    connectors={
        f'level_{i}': dict(
            type='mmrazor.MGDConnector', student_channels=256, teacher_channels=256, lambda_mgd=0.65
        )
        for i in range(5)
    },
    distill_losses={f'loss_mgd_{i}': dict(type='mmrazor.MGDLoss', alpha_mgd=2e-5) for i in range(5)},
    loss_forward_mappings={
        f'loss_mgd_{i}': dict(
            preds_S=dict(from_student=True, recorder=f'level_{i}', connector=f'level_{i}'),
            preds_T=dict(from_student=False, recorder=f'level_{i}'),
        )
        for i in range(5)
    },
)
