"""torchrun for dist_train.sh and dist_test.sh: same arguments, sensible threads, a quiet end.

torchrun gives every process one thread, with a warning, and reports the end of a process with a traceback
that buries the process's message. `torchrun --help` lists the arguments.
"""

from __future__ import annotations

import logging
import os
import signal
import sys

#: Time for the processes to finish their iteration and save, before torchrun kills them.
SAVE_SECONDS = 120


def main() -> int:
    """Run the processes and return the exit code of the first that failed, 0 if none did."""
    if sys.argv[1:] in ([], ['-h'], ['--help']):
        print(__doc__)
        return 0
    from torch.distributed import DistNetworkError
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    args = parse_args(sys.argv[1:])
    args.signals_to_handle += ',SIGUSR1'  # of Slurm: passed on, as the others are
    args.shutdown_timeout = args.shutdown_timeout or SAVE_SECONDS
    processes = int(args.nproc_per_node)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS'):
        os.environ.setdefault(name, str(max(1, (cores or 1) // processes)))
    logging.disable(logging.ERROR)  # of this process: what the user reads comes from the others
    try:
        run(args)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        if code < 0:
            print(
                f'The process of rank {rank} was killed by {signal.Signals(-code).name} (SIGKILL often '
                'means that memory ran out).',
                file=sys.stderr,
            )
            return 128 - code
        print(
            f'The process of rank {rank} ended with exit code {code}; its message is above.', file=sys.stderr
        )
        return code
    except SignalException as error:
        return 128 + int(error.sigval)
    except DistNetworkError as error:
        if 'EADDRINUSE' not in str(error):
            raise
        print(
            f'Port {args.master_port} of {args.master_addr} is taken, probably by another run. Choose '
            f'another one: PORT={int(args.master_port) + 1} tools/dist_train.sh ...',
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
