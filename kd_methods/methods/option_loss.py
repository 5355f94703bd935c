"""Base of the losses: a module whose options are those of the function that computes it."""

from collections.abc import Callable, Iterable
from inspect import Parameter, Signature, signature
from typing import Any

from torch import Tensor, nn

from kd_methods.utils.options import NonNegative, check_options, read_options

_WEIGHT = Parameter('loss_weight', Parameter.POSITIONAL_OR_KEYWORD, default=1.0, annotation=NonNegative)


class OptionLoss(nn.Module):
    """A loss that takes its options from a :func:`~kd_methods.utils.options.checked` function.

    .. code-block:: python

        @MODELS.register_module()
        class MyLoss(OptionLoss, function=my_loss, loss_weight=10.0):
            def forward(self, x: Tensor, y: Tensor) -> Tensor:
                return self.loss_weight * self.function(x, y, **self.options)

    The constructor takes the function's options that have a default, and ``loss_weight``, and checks them;
    ``self.function`` does not check them again. A subclass with further arguments hands the others on, ``def
    __init__(self, channels: Count, **options)``; ``inspect.signature`` of the class shows all.

    Class arguments:
        function (Callable, optional): The function. Defaults to None: ``loss_weight`` is the only option.
        loss_weight (float): Default of ``loss_weight``. Defaults to 1.0.
        without (Iterable[str]): Options of the function that the loss does not take. Defaults to ().

    Attributes:
        options (dict[str, Any]): Values of the function's options.
        loss_weight (float): Factor of the loss.
        stats (dict[str, Tensor]): Of the last forward, detached, to be logged.
        shown (tuple[str, ...]): Further attributes that ``repr`` shows.
        own_grids (bool): It takes maps of any sizes (:class:`~kd_methods.distill.grids.GridRule`).
    """

    own_grids = True
    function: Callable
    shown: tuple[str, ...] = ()
    _takes = Signature([_WEIGHT])

    def __init_subclass__(
        cls, function: Callable | None = None, loss_weight: float = 1.0, without: Iterable[str] = ()
    ) -> None:
        super().__init_subclass__()
        if function is not None:
            cls.function = staticmethod(function.unchecked)
            given = signature(function, eval_str=True).parameters
            names = [name for name in read_options(given) if given[name].default is not Parameter.empty]
            options = [given[name] for name in names if name not in without]
            cls._takes = Signature([*options, _WEIGHT.replace(default=loss_weight)])
        cls.__signature__ = Signature(_constructor_parameters(cls))

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__()
        bound = self._takes.bind(*args, **options)
        bound.apply_defaults()
        self.options: dict[str, Any] = dict(bound.arguments)
        check_options(type(self).__name__, read_options(self._takes.parameters), self.options)
        self.loss_weight: float = self.options.pop('loss_weight')
        self.stats: dict[str, Tensor] = {}

    def extra_repr(self) -> str:
        shown = {name: getattr(self, name) for name in self.shown}
        shown.update(self.options, loss_weight=self.loss_weight)
        return ', '.join(f'{name}={value!r}' for name, value in shown.items())


def _constructor_parameters(cls: type[OptionLoss]) -> list[Parameter]:
    """What a constructor takes, through its bases as far as ``**options`` hands the rest on."""
    found: list[Parameter] = []
    positional = True
    for base in cls.__mro__[: cls.__mro__.index(OptionLoss)]:
        if '__init__' not in vars(base):
            continue
        own = list(signature(base.__init__, eval_str=True).parameters.values())[1:]
        found += [p for p in own if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        kinds = {p.kind for p in own}
        positional = positional and Parameter.VAR_POSITIONAL in kinds
        if Parameter.VAR_KEYWORD not in kinds:
            break
    else:
        kind = Parameter.POSITIONAL_OR_KEYWORD if positional else Parameter.KEYWORD_ONLY
        found += [p.replace(kind=kind) for p in cls._takes.parameters.values()]
    nearest = {p.name: p for p in reversed(found)}  # a class may state one of its base's again
    return sorted((p for p in found if nearest[p.name] is p), key=lambda p: p.kind)
