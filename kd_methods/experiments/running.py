"""Trainings run side by side, each in a process; stopped, they go on where they were."""

import itertools
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from kd_methods.experiments.logs import read_training
from kd_methods.experiments.processes import ENDED, POLL, Process, clock, say, stop
from kd_methods.experiments.trials import RECORD, Trial
from kd_methods.networks.checkpoint import safe_load
from kd_methods.utils.files import write_file
from kd_methods.utils.paths import REPO_ROOT


class Running:
    """A trial at work: training, then test, then its record."""

    def __init__(self, trial: Trial, env: Mapping[str, str], lock: int | None) -> None:
        self.trial, self.env, self.lock, self.problem = trial, env, lock, ''
        folder = trial.folder
        if not trial.record():
            if folder.exists() and any(folder.iterdir()):
                kept = next(p for i in itertools.count(1) if not (p := Path(f'{folder}.old{i}')).exists())
                folder.rename(kept)
                say(
                    f'{trial.title}: its settings have changed, so it starts anew; {kept.name} is the old run'
                )
            trial.write_config()
            self.write(done=False)
        self.testing, self.process = False, None
        if trial.record().get('trained'):
            say(f'{trial.title}: trained before')
            if trial.test:
                self.test()
            return
        last = folder / 'last_checkpoint'
        resume = last.is_file()
        say(f'{trial.title}: {f"goes on from {Path(last.read_text()).name}" if resume else "starts"}')
        self.begin('train.py', trial.config, '--work-dir', folder, *['--resume'] * resume)

    def test(self) -> None:
        """Start the test."""
        self.testing, folder = True, self.trial.folder / 'test'
        keep = ['--out', folder / 'predictions'] * self.trial.predictions
        self.begin('test.py', self.trial.config, self.checkpoint(), '--work-dir', folder, *keep)

    def begin(self, tool: str, *arguments) -> None:
        """Start a tool."""
        command = [REPO_ROOT / 'tools' / tool, *arguments]
        self.process = Process(command, self.trial.folder / 'output.txt', self.env, self.lock)

    def is_over(self) -> bool:
        """Look at the process, and go on with the next; True where there is none or one failed.

        Raises:
            KeyboardInterrupt: The process was interrupted.
        """
        code = self.process.code() if self.process else 0
        if code is None:
            return False
        if code in ENDED:
            raise KeyboardInterrupt
        try:
            if code:
                self.problem = self.process.failure()
            elif self.trial.test and not self.testing:
                self.test()
                self.write(done=False, trained=True)
                return False
            else:
                self.write(done=True, trained=True, **self.results())
        except (ValueError, OSError) as error:  # such as a run that leaves no checkpoint
            self.problem = str(error)
        if self.problem:
            self.write(done=False)
        return True

    def checkpoint(self) -> Path:
        """The file that is tested."""
        if self.trial.test == 'best':
            return self.trial.folder / 'best.pth'
        return self.trial.folder / Path((self.trial.folder / 'last_checkpoint').read_text().strip()).name

    def results(self) -> dict:
        """What the training and its test have given, in plain values.

        Raises:
            ValueError: The training ended without a validation where that is the result.
        """
        folder, log, cfg = self.trial.folder, read_training(self.trial.folder), self.trial.cfg
        length = self.trial.arm.duration
        last = {name: round(values[max(values)], 4) for name, values in log.metrics.items()}
        if self.trial.test:
            path = folder / 'test' / f'test_{self.checkpoint().stem}.json'
            metrics = json.loads(path.read_text())['metrics']
        elif last and all(max(values) == length for values in log.metrics.values()):
            metrics = last
        else:
            at = f'every {cfg.train_cfg.get("val_interval")} of {length}'
            raise ValueError(
                f'{self.trial.title}: no validation at its end (train_cfg.val_interval: {at}). Let the '
                'interval divide the length, or test the last checkpoint.'
            )
        seconds = log.seconds_per_iteration
        total = statistics.mean(log.seconds.values()) * max(log.seconds) if log.seconds else None
        return dict(
            metrics=metrics,
            validation=log.metrics,
            length=length,
            seconds_per_iteration=seconds and round(seconds, 4),
            seconds=total and round(total, 1),
            extra_parameters=extra_parameters(folder),
        )

    def write(self, done: bool, **found) -> None:
        """Write the trial's record."""
        trial = self.trial
        own = dict(
            result=trial.test, arm=trial.arm.name, config=trial.arm.config, options=dict(trial.arm.options)
        )
        record = dict(key=trial.key, done=done, **own, seed=trial.seed, **found)
        write_file(json.dumps(record, indent=1, default=str) + '\n', trial.folder / RECORD)


def extra_parameters(folder: Path) -> int:
    """Number of values that a distiller has trained, such as adapters, in a work dir's last checkpoint."""
    last = folder / Path((folder / 'last_checkpoint').read_text().strip()).name
    state = safe_load(last)['state_dict']
    buffers = ('running_mean', 'running_var', 'num_batches_tracked')
    own = [name for name in state if name.startswith('distiller.') and not name.endswith(buffers)]
    return sum(state[name].numel() for name in own)


def run_trials(
    trials: Sequence[Trial],
    env: Mapping[str, str],
    jobs: int = 1,
    devices: Sequence[str] = (),
    lock: int | None = None,
    every: float = 30.0,
) -> dict[str, str]:
    """Run all trials that are not done yet, those that others wait for first.

    Args:
        trials (Sequence[Trial]): Trials; those that their teachers are have to be among them.
        env (Mapping[str, str]): Environment of all processes.
        jobs (int): Processes at one time. Defaults to 1.
        devices (Sequence[str]): ``CUDA_VISIBLE_DEVICES`` of each job in turn. Defaults to none.
        lock (int | None): Open lock that the processes hold too. Defaults to None.
        every (float): Seconds between two reports of progress. Defaults to 30.

    Returns:
        dict[str, str]: The last lines of the trials that failed, by title; the others have gone on.

    Raises:
        KeyboardInterrupt: This process or one of the trainings was interrupted; all have been ended.
        ValueError: A teacher's trial is not among them.
    """
    titles = {trial.title for trial in trials}
    if lone := [t for t in trials if t.teacher and t.teacher.title not in titles]:
        raise ValueError(f'{lone[0].title}: its teacher ({lone[0].teacher.title}) is not among the trials.')
    waiting = [trial for trial in trials if not trial.is_done()]
    if len(waiting) < len(trials):
        say(f'{len(trials) - len(waiting)} of {len(trials)} done before')
    at_work: dict[int, Running] = {}
    failed: dict[str, str] = {}
    told = time.monotonic()
    try:
        while waiting or at_work:
            for slot in sorted(set(range(jobs)) - set(at_work)):
                lost = [t for t in waiting if t.teacher and t.teacher.title in failed]
                for trial in lost:
                    failed[trial.title] = f'its teacher failed ({trial.teacher.title})'
                waiting = [trial for trial in waiting if trial not in lost]
                ready = (t for t in waiting if not t.teacher or t.teacher.is_done())
                if trial := next(ready, None):
                    waiting.remove(trial)
                    chosen = dict(CUDA_VISIBLE_DEVICES=devices[slot % len(devices)]) if devices else {}
                    at_work[slot] = Running(trial, {**env, **chosen}, lock)
            time.sleep(POLL)
            for slot, running in list(at_work.items()):
                if running.is_over():
                    del at_work[slot]
                    title = running.trial.title
                    if running.problem:
                        failed[title] = running.problem
                    say(f'{title}: {"failed" if running.problem else "done"}')
            if time.monotonic() - told > every:
                told = time.monotonic()
                for running in at_work.values():
                    say(f'{running.trial.title}: {running.process.words()}')
                done = len(trials) - len(waiting) - len(at_work) - len(failed)
                if left := time_left([trial for trial in trials if trial.title not in failed], jobs):
                    say(f'{done} of {len(trials)} done, about {clock(left)} left')
    except BaseException:
        stop([running.process for running in at_work.values() if running.process])
        raise
    return failed


def time_left(trials: Sequence[Trial], jobs: int) -> float | None:
    """Seconds that the trials still need, by the time of an iteration that each arm has shown.

    An arm that has not run yet is taken for the mean of the others. None before anything is known.
    """
    pace: dict[str, float] = {}
    left: list[tuple[str, int]] = []
    for trial in trials:
        log = read_training(trial.folder)
        if log.seconds_per_iteration:
            pace[trial.arm.name] = log.seconds_per_iteration
        if not trial.is_done():
            by_epoch = trial.cfg.train_cfg.get('by_epoch') or 'max_epochs' in trial.cfg.train_cfg
            if by_epoch:
                return None
            left.append((trial.arm.name, trial.arm.duration - max(log.seconds, default=0)))
    if not pace:
        return None
    mean = statistics.mean(pace.values())
    return sum(pace.get(arm, mean) * iterations for arm, iterations in left) / jobs
