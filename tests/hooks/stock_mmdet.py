"""What a user without this package does with an exported detector (started as a process).

CONFIG WEIGHTS IMAGES OUT: predictions for images (a JSON list), then mmengine's test loop. The last line
    printed is a report in
JSON.
"""

import json
import sys

import torch
from mmdet.apis import inference_detector, init_detector
from mmengine.config import Config
from mmengine.runner import Runner

torch.set_num_threads(1)


def main(config, weights, images, out):
    model = init_detector(config, weights, device='cpu')
    state = torch.load(weights, weights_only=True)['state_dict']
    found = [inference_detector(model, image).pred_instances for image in json.loads(images)]
    cfg = Config.fromfile(config)
    cfg.work_dir, cfg.load_from = f'{out}/test', weights
    metrics = Runner.from_cfg(cfg).test()
    return dict(
        odd_keys=sorted(set(model.state_dict()) ^ set(state)),
        classes=model.dataset_meta['classes'],
        boxes=[instances.bboxes.tolist() for instances in found],
        masks=[list(instances.masks.shape[1:]) for instances in found if 'masks' in instances],
        metrics={name: float(value) for name, value in metrics.items()},
        ours=[m for m in sys.modules if m.split('.')[0] in ('kd_methods', 'mmrazor')],
    )


if __name__ == '__main__':
    print('\n' + json.dumps(main(*sys.argv[1:])))
