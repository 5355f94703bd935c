"""All places of a network that a tap can name."""

from mmengine.model import BaseModel

from kd_methods.networks.probe import Probe, format_shape, probe_network
from kd_methods.networks.recording import INPUTS
from kd_methods.networks.taps import resolve_tap
from kd_methods.utils.errors import describe_error
from kd_methods.utils.report import table


def describe_places(network: BaseModel, role: str, size: tuple[int, int]) -> str:
    """A network's roles and module paths, with the shapes that an image of ``size`` gives there."""
    probe = probe_network(network, role, size)
    lines = [f'{probe.name}, one image of {size[0]}x{size[1]}']
    if probe.error is not None:
        lines.append(f'  (the run ended early: {describe_error(probe.error)})')
    roles = table(_roles(probe), ('role', 'place', 'fires', 'shape'), right=(2,))
    modules = table(_modules(probe), ('module path', 'fires', 'output'), right=(1,))
    for text in (roles, modules):
        lines += ['', *('  ' + line for line in text.splitlines())]
    return '\n'.join(lines)


def _roles(probe: Probe) -> list[tuple]:
    names = []
    for part in ('backbone', 'neck'):
        calls = probe.firings.get(part)
        if calls:
            outputs = calls[0].outputs
            names += [f'{part}.{i}' for i in range(len(outputs) if isinstance(outputs, list) else 1)]
    rows = []
    for name in [*names, 'features', 'logits']:
        try:
            tap = resolve_tap(probe, name)
        except (KeyError, ValueError):
            continue  # this network has no such role
        place = tap.source + (' (its input)' if tap.kind == INPUTS else '')
        rows.append((name, place, tap.fires, format_shape(tap.shape)))
    return rows


def _modules(probe: Probe) -> list[tuple]:
    fired = {path: calls for path, calls in probe.firings.items() if path and calls[0].outputs is not None}
    rows = sorted(fired.items(), key=lambda item: item[1][0].order)
    return [(path, len(calls), format_shape(calls[0].outputs)) for path, calls in rows]
