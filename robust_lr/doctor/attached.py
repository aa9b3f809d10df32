"""The doctor inside a command: it watches each optimizer of the process, and writes a report when the process ends."""

from __future__ import annotations

import atexit
import functools
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER, TOTAL_STEPS = "ROBUST_LR_DOCTOR", "ROBUST_LR_DOCTOR_TOTAL_STEPS"
_OF_MISSING_STEPS = ("horizon-longer", "never-reached-peak")
_MOST = 4  # optimizers at a time; a doctor keeps its optimizer alive


def attach(optim: ModuleType) -> None:
    """Watch each optimizer from its construction on, or from its first step if it came by another way."""
    _Ward(optim)


class _Ward:
    def __init__(self, optim: ModuleType) -> None:
        self._doctors: dict[int, Any] = {}
        self._reports: list[dict[str, Any]] = []
        self._has_failed = self._is_at_work = False
        build = optim.Optimizer.__init__

        @functools.wraps(build)
        def build_and_watch(optimizer: Any, *args: Any, **kwargs: Any) -> None:
            build(optimizer, *args, **kwargs)
            self._watch(optimizer)

        optim.Optimizer.__init__ = build_and_watch
        import_module(f"{optim.__name__}.optimizer").register_optimizer_step_pre_hook(self._before_step)
        sys.excepthook = self._noting(sys.excepthook)
        atexit.register(self._write)

    def _noting(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        def note(*args: Any) -> None:
            self._has_failed = True
            hook(*args)

        return note

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if id(optimizer) not in self._doctors:
            self._watch(optimizer)

    def _watch(self, optimizer: Any) -> None:
        if self._is_at_work:
            return
        self._is_at_work = True  # importing robust_lr_torch may build optimizers
        try:
            make = import_module("robust_lr_torch").ScheduleDoctor
            total_steps = os.environ.get(TOTAL_STEPS)
            self._doctors[id(optimizer)] = make(optimizer, total_steps=int(total_steps) if total_steps else None)
        except Exception as error:  # the doctor must not stop the training
            print(f"schedule doctor: it cannot watch: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
            return  # and says so once
        self._is_at_work = False
        while len(self._doctors) > _MOST:
            self._discharge(self._doctors.pop(next(iter(self._doctors))))

    def _discharge(self, doctor: Any) -> None:
        doctor.close(interrupted=self._has_failed)
        if doctor.n_steps:
            self._reports.append({"watched": doctor.watched, "findings": list(map(asdict, doctor.findings()))})

    def _write(self) -> None:
        while self._doctors:
            self._discharge(self._doctors.pop(next(iter(self._doctors))))
        if len(self._reports) > 1 and not os.environ.get(TOTAL_STEPS):  # as in a study that prunes its trials
            for finding in (each for report in self._reports for each in report["findings"]):
                finding["certain"] &= finding["code"] not in _OF_MISSING_STEPS
        if self._reports and (folder := os.environ.get(FOLDER)):
            Path(folder, f"{os.getpid()}.json").write_text(json.dumps(self._reports), encoding="utf-8")
