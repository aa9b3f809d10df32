"""Several trials on one GPU: in packs, in processes, one by one; each as a user runs it, with all that it takes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

from on_gpu.models import MODELS
from robust_lr import PackedRunner, ProcessPoolRunner, SerialRunner, TrialSpec, parse_schedule
from robust_lr.runners import Runner, TrialList

SCHEDULES = {"cosine": parse_schedule("cosine")}


def measure_sharing(device: str, write: Callable[[Any], None], *, tiny: bool) -> None:
    """Run a sweep of each model in each way; what is found is written after each."""
    found: dict[str, Any] = {}
    shares = [Share(name, device, tiny=tiny) for name in (["mlp"] if tiny else ["mlp", "char-lm", "wrn", "cnn"])]
    for ways in (("one by one", "packed", "processes"), ("auto",)):  # what matters most comes first
        for share in shares:
            for way in ways:
                found.setdefault(share.name, share.entry)["ways"][way] = figures = share.run(way)
                print(share.name, way, json.dumps(figures), flush=True)
                write(found)


class Share:
    """The sweep of one model, and what is found of it."""

    def __init__(self, name: str, device: str, *, tiny: bool) -> None:
        model, (low, high) = MODELS[name], MODELS[name].lrs
        n_trials, n_steps = (4, 6) if tiny else (model.sweep_trials, model.sweep_steps)
        self.name, self.losses = name, {}
        self.task = replace(model.make(tiny), total_steps=n_steps, device=device)
        self.trials = [TrialSpec("cosine", low * (high / low) ** (i / n_trials), i % 2) for i in range(n_trials)]
        n_processes = 2 if tiny else 4
        self.entry = {"trials": n_trials, "steps": n_steps, "processes": n_processes, "ways": {}}
        gpus = ("0",) * n_processes if device == "cuda" else ()
        self.runners: dict[str, Runner] = {
            "one by one": SerialRunner(),
            "packed": PackedRunner(slots=n_trials, engine="packed", strict=True),
            "processes": ProcessPoolRunner(n_processes, devices=gpus),
            "auto": PackedRunner(strict=True),
        }

    def run(self, way: str) -> dict[str, Any]:
        """Return the seconds of the sweep, those of the typical trial, and the difference to the same trials alone."""
        trials = self.trials
        if way == "one by one":
            trials = trials[:: len(trials) // 2]
            replace(self.task, total_steps=2)(lr=trials[0].lr, schedule="cosine", seed=0)  # the first call is slow
        start = time.perf_counter()
        try:
            results = list(self.runners[way].run(self.task, TrialList(trials), SCHEDULES))
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"[:2000]}
        figures: dict[str, Any] = {"seconds": time.perf_counter() - start, "trials": len(results)}
        figures["seconds_of_a_trial"] = median(r.seconds for r in results)
        if wrong := [r.error or r.status for r in results if r.status != "ok"]:
            figures["failed"] = wrong[:1]
        losses = {r.spec: r.loss for r in results}
        if both := self.losses.keys() & losses.keys():
            figures["largest difference of losses"] = max(abs(self.losses[spec] - losses[spec]) for spec in both)
        self.losses = self.losses or losses
        return figures
