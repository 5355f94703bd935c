"""Users' own imports from MMRazor keep working; what is left out says so."""

import pickle
import subprocess
import sys

import mmengine.registry as root
import pytest
from mmengine.registry import DefaultScope

import kd_methods
from kd_methods.compat.razor import KEPT, import_mmrazor

IMPORTS = """
from mmrazor.models import ConfigurableDistiller, ModuleOutputsRecorder, ChannelWiseDivergence
from mmrazor.models import SingleTeacherDistill, FpnTeacherDistill, SelfDistill, BaseAlgorithm
from mmrazor.models import DistillDeliveryManager, RecorderManager, add_prefix, MGDConnector
from mmrazor.models.losses import ChannelWiseDivergence, KLDivergence, DISTLoss
from mmrazor.models.losses.cwd import ChannelWiseDivergence
from mmrazor.models.task_modules import ModuleOutputsRecorder, RecorderManager, FunctionOutputsDelivery
from mmrazor.models.task_modules.recorder import MethodOutputsRecorder, ParameterRecorder
from mmrazor.models.task_modules.delivery import DistillDeliveryManager, MethodOutputsDelivery
from mmrazor.models.distillers import BaseDistiller, ConfigurableDistiller, OFDDistiller, BYOTDistiller
from mmrazor.models.algorithms import BaseAlgorithm, SingleTeacherDistill, OverhaulFeatureDistillation
from mmrazor.models.algorithms.base import LossResults
from mmrazor.models.algorithms.distill import SingleTeacherDistill
from mmrazor.models.architectures import ConvModuleConnector, DAFLGenerator
from mmrazor.models.architectures.connectors import BYOTConnector, TorchNNConnector
from mmrazor.models.architectures.connectors.base_connector import BaseConnector
from mmrazor.models.utils import add_prefix, set_requires_grad, get_module_device
from mmrazor.engine import StopDistillHook, SingleTeacherDistillValLoop, SelfDistillValLoop
from mmrazor.engine.hooks import StopDistillHook, RazorVisualizationHook
from mmrazor.engine.runner import SingleTeacherDistillValLoop
from mmrazor.registry import MODELS, HOOKS, TASK_UTILS
from mmrazor.utils import register_all_modules, setup_multi_processes
from mmrazor.models import *
from mmrazor.models import losses, distillers
import mmrazor.models.task_modules.recorder as recorder
"""


@pytest.mark.parametrize('line', IMPORTS.strip().splitlines())
def test_users_import(line):
    exec(line, {})


def test_version_and_place():
    import mmrazor

    assert mmrazor.__version__ == '1.0.0' and mmrazor.__file__.endswith('mmrazor/__init__.py')
    assert mmrazor.digit_version('1.0.0') < mmrazor.digit_version('1.1.0')


def test_same_class_by_every_path():
    from mmrazor.models import ConfigurableDistiller
    from mmrazor.models.distillers.configurable_distiller import ConfigurableDistiller as direct

    assert ConfigurableDistiller is direct is root.MODELS.get('mmrazor.ConfigurableDistiller')


def test_register_all_modules():
    from mmrazor.utils import register_all_modules

    register_all_modules(False)  # the original imports NAS and fails
    with DefaultScope.overwrite_default_scope('mmrazor'):
        register_all_modules()
        assert DefaultScope.get_current_instance().scope_name == 'mmrazor'


# ---------------------------------------------------------------- what is left out


@pytest.mark.parametrize(
    'line',
    [
        'from mmrazor.models import DCFFChannelMutable',
        'from mmrazor.models.algorithms import SPOS',
        'from mmrazor.engine import EstimateResourcesHook',
        'from mmrazor.engine.hooks import DumpSubnetHook',
        'from mmrazor.models.mutables import BaseMutable',
        'from mmrazor.models import mutators',
        'import mmrazor.structures',
        'import mmrazor.models.algorithms.nas',
        'import mmrazor; mmrazor.models.SlimmableNetwork',
    ],
)
def test_left_out_names_get_a_sentence(line):
    with pytest.raises((ImportError, AttributeError), match='only the distillation part'):
        exec(line, {})


def test_bare_packages_answer_like_modules():
    import mmrazor.models

    assert not hasattr(mmrazor.models, 'SPOS') and not hasattr(mmrazor.models, '__wrapped__')

    def local():
        pass

    local.__module__ = None  # pickle then looks for it in all modules
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(local)
    assert pickle.loads(pickle.dumps(mmrazor.models.L1Loss)) is mmrazor.models.L1Loss


def test_unknown_type_imports_nothing_more():
    before = set(sys.modules)
    for registry in (root.MODELS, root.HOOKS, root.DATASETS, root.TASK_UTILS):
        with pytest.raises(KeyError):
            registry.build(dict(type='mmrazor.NoSuchType'))
    assert not [name for name in set(sys.modules) - before if name.startswith('mmrazor.models')]


# ---------------------------------------------------------------- states before the import


def test_setup_twice_changes_nothing():
    before = {name: (sys.modules[name], dict(vars(sys.modules[name]))) for name in KEPT}
    finders = list(sys.meta_path)
    import_mmrazor()
    kd_methods.compat.setup()
    for name, (module, content) in before.items():
        assert sys.modules[name] is module and vars(module) == content
    assert sys.meta_path == finders


def test_after_an_import_of_mmrazor_that_failed(request):
    """Once at mmcv's version, once, with the version faked, deep inside: leaves half of it."""
    code = (
        'import sys, mmcv\n'
        'try: import mmrazor; raise SystemExit("mmrazor imports?")\n'
        'except AssertionError: pass\n'
        'version, mmcv.__version__ = mmcv.__version__, "2.1.0"\n'
        'try: import mmrazor.models; raise SystemExit("mmrazor.models imports?")\n'
        'except ImportError: pass\n'
        'mmcv.__version__ = version\n'
        'assert "mmrazor" in sys.modules\n'
        'import kd_methods\n'
        'from mmengine.registry import MODELS\n'
        'from mmrazor.models import SingleTeacherDistill, ConfigurableDistiller, DISTLoss\n'
        'from mmrazor.engine import StopDistillHook\n'
        'assert MODELS.get("mmrazor.SingleTeacherDistill") is SingleTeacherDistill\n'
        'MODELS.build(dict(type="mmrazor.ConfigurableDistiller"))\n'
        'MODELS.build(dict(type="mmrazor.BYOTConnector", in_channel=4, out_channel=4,'
        ' num_classes=3))\n'
        'print("fine")'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=request.config.rootpath, capture_output=True, text=True
    )
    assert done.stdout == 'fine\n', done.stderr


LATER = """
import sys
import kd_methods
heavy = ['scipy.stats', 'matplotlib.pyplot', 'torch._dynamo', 'torch._inductor', 'mmdet', 'mmseg.models']
print([name for name in heavy if name in sys.modules])
from mmrazor.models.distillers import ofd_distiller
from mmrazor.visualization import local_visualizer
print(ofd_distiller.norm.cdf(0.0), type(local_visualizer.plt.figure()).__name__)
import matplotlib.pyplot, scipy.stats
print(matplotlib.pyplot.get_fignums(), scipy.stats.norm.cdf(0.0))
"""


def test_import_leaves_what_takes_seconds_for_later():
    """And what MMRazor needs of it is there when it is used, as the real modules are for everybody else."""
    command = [sys.executable, '-c', LATER]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-3:] == ['[]', '0.5 Figure', '[1] 0.5']
