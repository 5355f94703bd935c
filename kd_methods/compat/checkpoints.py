"""What a checkpoint written by mmengine's runner may hold."""

from collections.abc import Callable
from pickle import UnpicklingError


def safe_globals() -> list:
    """What ``torch.load(weights_only=True)`` must allow for checkpoints of OpenMMLab's runner.

    Their message hub holds HistoryBuffers, their meta data numpy values and config dicts. Nothing
    in the list runs code that a file brings along; mmengine's own list has ``getattr``, for which
    :func:`_history_method` stands here.

    Returns:
        list: For ``torch.serialization.safe_globals``.
    """
    import numpy as np
    from mmengine.config import ConfigDict
    from mmengine.logging import HistoryBuffer

    numpy_functions = {
        '_reconstruct': np.zeros(1).__reduce__()[0],  # of an array
        'scalar': np.float64(0).__reduce__()[0],
    }
    return [
        HistoryBuffer,
        (_history_method, 'builtins.getattr'),
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


def _history_method(owner: type, name: str) -> Callable:
    """Stands for ``getattr``, with which HistoryBuffers refer to their own four methods."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed in a checkpoint')
    return getattr(owner, name)
