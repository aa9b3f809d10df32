"""`CommandTask` is a training function that starts a command for each trial."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import signal
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from .._checks import check_number, check_whole
from .._labels import spec_text
from .._paths import is_folder
from ..exceptions import CommandError, OptionError, TrialDiverged
from ..schedules.closed_forms import Schedule
from ._outputs import JsonLines, read_by_pattern, read_from_file
from ._process import TIME_LIMIT, run_logged
from ._scripts import script_digests
from ._template import anchored, check_files, check_placeholders, fill, filled_path, split_command

LOG, COMMAND = "log.txt", "command.txt"
_LINES_SHOWN = 20


@dataclass(frozen=True)
class CommandTask:
    """A training function that starts a command for each trial, and reads the metrics from its output.

    The placeholders {lr}, {schedule}, {seed}, {total_steps} and {trial_dir} are replaced in each word of the command;
    the environment variables ROBUST_LR_LR, ROBUST_LR_SCHEDULE, ROBUST_LR_SEED, ROBUST_LR_TOTAL_STEPS and
    ROBUST_LR_TRIAL_DIR hold the same values. Each trial has a folder of its own, in which the command runs, with its
    output in log.txt. Relative paths in the command mean files of the current folder, as ever.

    The metrics are the numbers in the last line of JSON on standard output that holds `metric`, or come from a pattern
    or a file. The processes of a trial end with it, and with this process, however it ends.

    Args:
        command: command line, split into words as a shell does, but run without one.
        metric: name of the metric to look for.
        metric_regex: regular expression with one group; its last match in the log holds the metric.
        metric_file: file in the trial's folder; its last record of JSON with `metric` counts, or a table's last row.
        total_steps: value of {total_steps}, at least 1.
        trials_dir: folder for the folders of the trials.
        cwd: folder in which all commands run, instead of their own, for scripts that read relative paths.
        shell: whether /bin/sh runs the command; the values of placeholders are quoted for it.
        trial_timeout: time limit of a trial in seconds; None for none. SIGTERM ends the trial, SIGKILL 5 s later.
        diverged_exit_code: exit code that means "diverged".
        diverged_pattern: regular expression; a trial with a match in its log has diverged.

    Raises:
        OptionError: when an option is wrong, a placeholder is unknown, or the program or its script does not exist.

    Example:
        >>> task = CommandTask("echo {lr}", metric_regex="(.*)", trials_dir="/tmp/trials")
        >>> task.words(lr=0.1, schedule="cosine", seed=0)
        ['echo', '0.1']
    """

    command: str
    _: KW_ONLY
    metric: str = "loss"
    metric_regex: str | None = None
    metric_file: str | None = None
    total_steps: int | None = None
    trials_dir: str | os.PathLike[str] = "robust-lr-trials"
    cwd: str | os.PathLike[str] | None = None
    shell: bool = False
    trial_timeout: float | None = None
    diverged_exit_code: int | None = None
    diverged_pattern: str | None = None
    _folder: Path = field(init=False, repr=False, compare=False)
    _words: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if os.name != "posix":
            raise OptionError("commands as trials need process groups, which this system lacks: use Linux or macOS")
        words, folder = split_command(self.command, shell=self.shell), Path.cwd()
        check_placeholders(self.command, total_steps=self.total_steps)
        if not self.shell:
            check_files(words, folder)
        _check_options(self)
        # Absolute, because a worker may run elsewhere.
        object.__setattr__(self, "trials_dir", str(Path(self.trials_dir).absolute()))
        object.__setattr__(self, "cwd", None if self.cwd is None else str(Path(self.cwd).absolute()))
        object.__setattr__(self, "_folder", folder)
        object.__setattr__(self, "_words", tuple(anchored(word, folder, shell=self.shell) for word in words))

    @property
    def label(self) -> str:
        """The program and its script, which name the command in a journal; the fingerprint has the rest."""
        words = self.command.split()
        end = next((i for i, word in enumerate(words) if word.startswith("-") or "{" in word), len(words))
        return " ".join(words[: max(end, 1)])

    def __robust_lr_fingerprint__(self) -> dict[str, object]:
        """Return what determines the results: the command, the scripts that it names, how its output is read."""
        ways = ("metric_regex", "metric_file", "total_steps", "shell", "diverged_exit_code", "diverged_pattern")
        given = {name: getattr(self, name) for name in ways if getattr(self, name) not in (None, False)}
        return {"command": self.command, **given, **self._scripts()}

    def trial_dir(self, *, lr: float, schedule: Schedule | str, seed: int) -> Path:
        """Return the folder of a trial, named by its schedule, learning rate and seed."""
        text = spec_text(schedule)
        name = re.sub(r"[^\w.=]+", "-", text).strip("-.")[:60]
        if name != text:  # two schedules must not share a folder
            name += f"-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
        return Path(self.trials_dir) / f"{name}-lr{float(lr)!r}-seed{seed}"

    def words(self, *, lr: float, schedule: Schedule | str, seed: int) -> list[str]:
        """Return the words of the command for a trial."""
        values = self._values(lr, schedule, seed)
        if self.shell:
            quoted = {name: shlex.quote(value) for name, value in values.items()}
            return [fill(word, quoted) for word in self._words]
        return [filled_path(word, values, self._folder) for word in self._words]

    def __call__(self, *, lr: float, schedule: Schedule, seed: int) -> dict[str, float]:
        """Run the command once; return its metrics.

        Raises:
            TrialDiverged: when its exit code or its log says so.
            CommandError: when it failed, was killed, or took too long.
            WrongReturnError: when its output does not hold the metric.
        """
        words = self.words(lr=lr, schedule=schedule, seed=seed)
        folder = self.trial_dir(lr=lr, schedule=schedule, seed=seed)
        self._prepare(folder, words)
        environment = {f"ROBUST_LR_{k.upper()}": v for k, v in self._values(lr, schedule, seed).items()}
        environment = {"PYTHONUNBUFFERED": "1", **os.environ, **environment}
        if "-m" in words:  # Python looks for modules in the folder in which it runs
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(self._folder), os.environ.get("PYTHONPATH")]))
        lines = JsonLines(self.metric)
        code = run_logged(
            words, folder=Path(self.cwd or folder), environment=environment, log=folder / LOG, see=lines.see,
            timeout=self.trial_timeout,
        )  # fmt: skip
        log = (folder / LOG).read_text(encoding="utf-8", errors="replace")
        self._check_end(code, log, folder)
        if self.metric_regex is not None:
            return {self.metric: read_by_pattern(self.metric_regex, log)}
        if self.metric_file is not None:
            return read_from_file(folder / self.metric_file, self.metric)
        return lines.metrics()

    def _values(self, lr: float, schedule: Schedule | str, seed: int) -> dict[str, str]:
        folder = self.trial_dir(lr=lr, schedule=schedule, seed=seed)
        values = {"lr": repr(float(lr)), "schedule": spec_text(schedule), "seed": str(seed), "trial_dir": str(folder)}
        return values if self.total_steps is None else {**values, "total_steps": str(self.total_steps)}

    def _scripts(self) -> dict[str, str]:
        return script_digests(self.command.split() if self.shell else shlex.split(self.command), self._folder)

    def _prepare(self, folder: Path, words: list[str]) -> None:
        """Make the folder; an older one stays, with its checkpoints, only if the same code left it."""
        parts = sorted(self._scripts().items())
        text = f"{shlex.join(words)}\n" + "".join(f"# {name}: {digest}\n" for name, digest in parts)
        note = folder / COMMAND
        if folder.is_dir() and (not note.is_file() or note.read_text(encoding="utf-8") != text):
            n = next(n for n in range(1, 10**6) if not folder.with_name(f"{folder.name}.old{n}").exists())
            folder.rename(folder.with_name(f"{folder.name}.old{n}"))
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(text, encoding="utf-8")
        if self.metric_file is not None:  # the result of an earlier attempt is not that of this one
            (folder / self.metric_file).unlink(missing_ok=True)

    def _check_end(self, code: int | None, log: str, folder: Path) -> None:
        if self.diverged_pattern is not None and (found := re.search(self.diverged_pattern, log, re.MULTILINE)):
            raise TrialDiverged(f"the log says {found[0].strip()!r}")
        if code is not None and code == self.diverged_exit_code:
            raise TrialDiverged(f"exit code {code}")
        if code == 0:
            return
        nothing = "it printed nothing"
        if code is None:
            nothing += "; if it only needs longer, raise --trial-timeout (trial_timeout=)"
            how = f"timed out after {self.trial_timeout:g} s"
            log = log.partition(TIME_LIMIT.decode())[0]  # below is what SIGTERM made of it
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name if -code in set(signal.Signals) else f'signal {-code}'}"
        else:
            how = f"ended with exit code {code}"
        lines = log.rstrip().splitlines()[-_LINES_SHOWN:] or [nothing]
        if self.cwd is None and any("No such file or directory" in line for line in lines):
            how += "; it ran in the trial's folder, and --cwd . (cwd=) runs it in this one"
        tail = "\n".join(lines)
        raise CommandError(f"the command {how}: {lines[-1].strip()}\n{folder / LOG} ends with:\n{tail}")


def _check_options(task: CommandTask) -> None:
    if task.total_steps is not None:
        check_whole("total_steps", task.total_steps, at_least=1)
    if task.trial_timeout is not None:
        check_number("trial_timeout", task.trial_timeout, above=0)
    if task.metric_regex is not None and task.metric_file is not None:
        raise OptionError("give one of metric_regex and metric_file (--metric-regex, --metric-file)")
    if task.metric_file is not None and (Path(task.metric_file).is_absolute() or ".." in Path(task.metric_file).parts):
        raise OptionError(f"metric_file must be a file in the trial's folder, got {task.metric_file!r}")
    if task.cwd is not None and not is_folder(task.cwd):
        raise OptionError(f"cwd must be a folder, got {str(task.cwd)!r}")
    for name in ("metric_regex", "diverged_pattern"):
        pattern = getattr(task, name)
        try:
            n_groups = re.compile(pattern or "").groups
        except re.error as error:
            raise OptionError(f"{name} is no regular expression: {error}: {pattern!r}") from None
        if name == "metric_regex" and pattern is not None and n_groups != 1:
            raise OptionError(f"{name} must have one group around the number, as in 'val loss (\\S+)', got {pattern!r}")
