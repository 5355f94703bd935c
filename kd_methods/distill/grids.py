"""One grid for two maps that a loss compares place by place."""

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from kd_methods.compat.razor_recording import compares_places
from kd_methods.networks.heads import decode_head
from kd_methods.ops.grids import resize_map

#: Whose map is brought to the grid of the other network's.
Resize = Literal['student', 'teacher', 'never']


@dataclass
class GridRule:
    """Which arguments of a loss are compared place by place, and whose is resized where the sizes differ.

    Maps are resized bilinearly, as the student's head resizes its logits (``align_corners``). A loss with an
    attribute ``own_grids = True`` deals with sizes by itself, as this project's do.

    Args:
        pairs (dict[str, str]): Arguments that read the student, each with the one that reads the teacher.
        resize (str): ``'student'``, ``'teacher'`` or ``'never'``. Defaults to ``'student'``.
        align_corners (bool): As of ``F.interpolate``. Defaults to False.
    """

    pairs: dict[str, str] = field(default_factory=dict)
    resize: Resize = 'student'
    align_corners: bool = False

    @classmethod
    def of(
        cls, loss: nn.Module, student: list[str], teacher: list[str], resize: str, network: nn.Module
    ) -> 'GridRule':
        """The rule of a loss by its arguments that read each network, paired in the order of its mapping."""
        own = getattr(loss, 'own_grids', False) or not compares_places(loss)
        pairs = {} if own or len(student) != len(teacher) else dict(zip(student, teacher))
        return cls(pairs, resize, bool(getattr(decode_head(network), 'align_corners', False)))

    def sizes(self, values: dict[str, Any]) -> dict[str, tuple[int, int]]:
        """The size that each map that has to be resized gets."""
        found = {}
        for pair in self.pairs.items():
            maps = [values.get(argument) for argument in pair]
            if all(isinstance(x, Tensor) and x.dim() == 4 for x in maps):
                own, other = (tuple(x.shape[2:]) for x in maps)
                if own != other:
                    found.update({pair[1]: own} if self.resize == 'teacher' else {pair[0]: other})
        return found

    def __call__(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values for the arguments of a loss, with the maps of a pair on one grid, and laid out in order.

        Raises:
            ValueError: Sizes differ, and ``resize`` is ``'never'``.
        """
        sizes = self.sizes(values)
        if sizes and self.resize == 'never':
            both = {a: tuple(values[a].shape[2:]) for pair in self.pairs.items() for a in pair}
            cure = "resize='student' or 'teacher' in the distiller brings them to one grid"
            raise ValueError(f"the maps have several sizes, {both}, and resize='never'; {cure}")
        fitted = {a: resize_map(values[a], size, self.align_corners) for a, size in sizes.items()}
        values = {**values, **fitted}
        # Logits of a transformer's head lie channels last; losses that flatten with view() refuse those.
        paired = [a for pair in self.pairs.items() for a in pair if isinstance(values.get(a), Tensor)]
        return {**values, **{argument: values[argument].contiguous() for argument in paired}}
