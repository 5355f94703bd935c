"""What a user without this package does with an exported student (started as a process).

predict CONFIG WEIGHTS IMAGES OUT: predictions for images (a JSON list) into OUT (.npz).
test CONFIG WEIGHTS WORK_DIR: mmengine's test loop.
"""

import json
import sys

import numpy as np
import torch

torch.set_num_threads(1)


def predict(config, weights, images, out):
    from mmseg.apis import inference_model, init_model

    model = init_model(config, weights, device='cpu')
    keys = torch.load(weights, weights_only=True)['state_dict'].keys()
    found = [inference_model(model, image) for image in json.loads(images)]
    labels = [r.pred_sem_seg.data.numpy() for r in found]
    np.savez(out, *labels, *[r.seg_logits.data.numpy() for r in found])
    return dict(odd_keys=sorted(set(model.state_dict()) ^ set(keys)), meta=model.dataset_meta)


def test(config, weights, work_dir):
    from mmengine.config import Config
    from mmengine.runner import Runner

    cfg = Config.fromfile(config)
    cfg.work_dir, cfg.load_from = work_dir, weights
    return dict(mIoU=Runner.from_cfg(cfg).test()['mIoU'])


if __name__ == '__main__':
    report = dict(predict=predict, test=test)[sys.argv[1]](*sys.argv[2:])
    report['ours'] = [m for m in sys.modules if m.split('.')[0] in ('kd_methods', 'mmrazor')]
    print('\n' + json.dumps(report))
