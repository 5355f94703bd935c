"""Being there when a checkpoint is written.

mmengine's hook point ``before_save_checkpoint`` gets the checkpoint but neither its file name nor
the moment at which the file is complete, and it runs on rank 0 only. A subclass of
``CheckpointHook`` would know the names of its files, but every config would have to name it,
and files that other hooks write would be missed. All of them go through ``runner.save_checkpoint``,
which every rank calls and rank 0 carries out: that is what is wrapped here, on the instance.
"""

import functools
from collections.abc import Callable


def around_save(
    runner,
    before: Callable[[str, str], None] | None = None,
    after: Callable[[str, str, dict | None], None] | None = None,
) -> None:
    """Call something before and after each checkpoint that a runner writes, on every rank.

    Args:
        runner (Runner): Runner whose ``save_checkpoint`` is wrapped.
        before (Callable, optional): Called with the directory and the file name.
        after (Callable, optional): Called with the directory, the file name and the backend
            arguments.
    """
    save = runner.save_checkpoint

    @functools.wraps(save)
    def save_checkpoint(out_dir, filename, *args, backend_args=None, **kwargs):
        if before is not None:
            before(str(out_dir), filename)
        save(out_dir, filename, *args, backend_args=backend_args, **kwargs)
        if after is not None:
            after(str(out_dir), filename, backend_args)

    runner.save_checkpoint = save_checkpoint


def is_first(hook, runner) -> bool:
    """Whether a hook is the first of its type in a runner: a hook that is listed twice acts
    once."""
    return next(h for h in runner.hooks if type(h) is type(hook)) is hook
