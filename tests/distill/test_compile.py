"""mmengine's option `compile`, which makes one graph of the step."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper


@pytest.mark.slow
def test_a_weight_that_finds_itself_is_the_same_when_compiled(distill, distiller_cfg, batch):
    """In a compiled graph no gradient can be taken at a tap: these steps run as they are."""
    auto = dict(loss_weight=dict(type='auto', ratio=0.3, iters=2))
    eager = distill(distiller=distiller_cfg('logits', auto))
    compiled = copy.deepcopy(eager)
    compiled.train_step = torch.compile(compiled.train_step, backend='aot_eager')
    for model in (eager, compiled):
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
        torch.manual_seed(0)
        logs = [model.train_step(batch(), wrapper) for _ in range(3)]
        model.weight = float(model.weights.auto_of('loss_kd').weight())
        model.last = float(logs[-1]['distill.loss_kd'])
    assert compiled.weight == pytest.approx(eager.weight, rel=1e-4) and eager.weight > 0
    assert compiled.last == pytest.approx(eager.last, rel=1e-3)
