"""Knowledge distillation for dense prediction on OpenMMLab.

``import kd_methods`` makes the installed OpenMMLab packages usable together
(:mod:`kd_methods.compat`) and registers everything this project has in mmengine's root registries,
so configs name its types without a prefix under any ``default_scope``.
"""

__version__ = '0.1.0'

from kd_methods import compat

compat.setup()

from kd_methods import datasets, distill, evaluation, hooks, methods, rgbx, scenes  # noqa: E402  (they need the set-up above)

__all__ = ['__version__', 'compat', 'datasets', 'distill', 'evaluation', 'hooks', 'methods', 'rgbx', 'scenes']
