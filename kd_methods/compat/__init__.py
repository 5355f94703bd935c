"""Everything this project knows about the quirks of mmrazor and of the onedl-* packages.

:func:`setup` is called once by ``import kd_methods``. It

* checks the installed packages and says what to install (:mod:`.packages`);
* keeps mmengine from installing the old ``mmsegmentation`` over ``onedl-mmsegmentation`` when a
  config names ``mmseg::...``, "Could not import OneDL" out of the log, and lets ``torchvision://``
  weights be found without torchvision (:mod:`.engine`);
* imports the distillation part of MMRazor, and nothing else of it (:mod:`.razor`).

mmseg and mmdet are not imported here (that takes seconds): mmengine's registries import them at the
first look-up of one of their types. :func:`safe_globals` (:mod:`.checkpoints`) belongs here because
it knows what mmengine writes into its checkpoints.
"""

from kd_methods.compat.checkpoints import safe_globals
from kd_methods.compat.engine import cure_package_names, find_torchvision_weights, quiet_onedl
from kd_methods.compat.packages import check_packages
from kd_methods.compat.razor import import_mmrazor

__all__ = ['safe_globals', 'setup']

_done = False


def setup() -> None:
    """Check the packages and make them usable; later calls do nothing."""
    global _done
    if _done:
        return
    check_packages()
    cure_package_names()
    quiet_onedl()
    find_torchvision_weights()
    from kd_methods.compat import checkpoint_files  # torch, which is known to be there by now

    checkpoint_files.install()
    import_mmrazor()
    _done = True
