"""What a user without this package does with an exported student (started as a process).

CONFIG WEIGHTS IMAGES OUT: predictions for images (a JSON list) go to OUT/predictions.npz; then
mmengine's test loop runs. The last line printed is a report in JSON.
"""

import json
import sys

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.apis import inference_model, init_model

torch.set_num_threads(1)


def main(config, weights, images, out):
    model = init_model(config, weights, device='cpu')
    keys = torch.load(weights, weights_only=True)['state_dict'].keys()
    found = [inference_model(model, image) for image in json.loads(images)]
    labels = [r.pred_sem_seg.data.numpy() for r in found]
    np.savez(f'{out}/predictions.npz', *labels, *[r.seg_logits.data.numpy() for r in found])

    cfg = Config.fromfile(config)
    cfg.work_dir, cfg.load_from = f'{out}/test', weights
    metrics = Runner.from_cfg(cfg).test()
    return dict(
        odd_keys=sorted(set(model.state_dict()) ^ set(keys)),
        meta=model.dataset_meta,
        mIoU=float(metrics['mIoU']),
        ours=[m for m in sys.modules if m.split('.')[0] in ('kd_methods', 'mmrazor')],
    )


if __name__ == '__main__':
    print('\n' + json.dumps(main(*sys.argv[1:])))
