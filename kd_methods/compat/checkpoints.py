"""What a checkpoint written by mmengine's runner may hold."""

from collections.abc import Callable
from pickle import UnpicklingError


def safe_globals() -> list:
    """What ``torch.load(weights_only=True)`` must allow for checkpoints of OpenMMLab's runner.

    Their message hub holds HistoryBuffers, their meta data numpy values and config dicts, a one-cycle
    schedule its annealing function. Nothing in the list runs code that a file brings along; mmengine's
    own list has ``getattr``, for which :func:`_known_method` stands here.

    Returns:
        list: For ``torch.serialization.safe_globals``.
    """
    import numpy as np
    from mmengine.config import ConfigDict
    from mmengine.logging import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    numpy_functions = {
        '_reconstruct': np.zeros(1).__reduce__()[0],  # of an array
        'scalar': np.float64(0).__reduce__()[0],
    }
    return [
        HistoryBuffer,
        OneCycleParamScheduler,
        (_known_method, 'builtins.getattr'),
        ConfigDict,
        slice,
        bytes,  # of an empty array
        np.ndarray,
        np.dtype,
        # numbers, booleans and text; no object and no structured arrays
        *{type(np.dtype(code)) for code in '?bBhHiIlLqQefdgFDGSU'},
        # numpy 2 renamed the package; a file has the name of the numpy that wrote it
        *(
            (function, f'numpy.{core}.multiarray.{name}')
            for core in ('core', '_core')
            for name, function in numpy_functions.items()
        ),
    ]


def _known_method(owner: type, name: str) -> Callable:
    """Stands for ``getattr``, with which HistoryBuffers and one-cycle schedulers refer to their own
    functions.
    """
    from mmengine.logging import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    known = {
        HistoryBuffer: ('min', 'max', 'mean', 'current'),
        OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
    }
    if not isinstance(owner, type) or name not in known.get(owner, ()):
        raise UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed in a checkpoint')
    return getattr(owner, name)
