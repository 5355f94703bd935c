"""A loss that is no longer a number ends the run."""

import math

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from kd_methods.networks.heads import unwrapped


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Stop the training at the first loss that is infinite or not a number.

    The error has the iteration and every entry of the losses. The step that made them is already
    done, so the weights in memory are spoilt, but no checkpoint is written with them: the check
    comes before the checkpoint hook's turn, and for runs of several processes, where the bad loss
    may be another process's, the parameters about to be written are looked through.

    Every iteration is checked. mmengine's ``RuntimeInfoHook`` has by then turned the losses into
    Python floats (waiting for the device), which are read from the message hub, so this costs no
    further wait.
    """

    priority = 'NORMAL'  # after RuntimeInfoHook (VERY_HIGH), before CheckpointHook (VERY_LOW)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Check the losses of this iteration."""
        if not outputs or 'loss' not in outputs:
            return
        logged = runner.message_hub.log_scalars.get('train/loss')
        loss = logged.current() if logged is not None else float(outputs['loss'])
        if math.isfinite(loss):
            return
        lines = [f'  {name} = {float(value):g}' for name, value in outputs.items()]
        raise FloatingPointError(
            f'The loss of iteration {runner.iter + 1} is not finite:\n'
            + '\n'.join(lines)
            + '\nNo checkpoint was written with these weights; the run can be resumed from the '
            'last one. Likely causes: a learning rate or a loss weight that is too high, no gradient '
            'clipping (optim_wrapper.clip_grad), a label outside of the classes.'
        )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Refuse to write parameters that are not finite."""
        model = unwrapped(runner.model)
        state = checkpoint['state_dict']
        bad = [
            name
            for name, _ in model.named_parameters()
            if name in state and not torch.isfinite(state[name]).all()
        ]
        if bad:
            shown = ', '.join(bad[:5]) + (f', ... ({len(bad)} in all)' if len(bad) > 5 else '')
            raise FloatingPointError(
                f'Parameters are not finite at iteration {runner.iter + 1}: {shown}. The checkpoint was not '
                'written; the run can be resumed from the last one.'
            )
