"""The package for OptunaHub: laid out as its registry wants it, and loaded by its own loader."""

import runpy
from pathlib import Path

import optuna
import optunahub

PACKAGE = (
    Path(__file__).resolve().parents[2] / "integrations" / "optunahub" / "package" / "samplers" / "geometric_lr_grid"
)


def load():
    return optunahub.load_local_module(package="samplers/geometric_lr_grid", registry_root=str(PACKAGE.parents[1]))


def test_the_hub_loads_the_sampler_of_the_plugin():
    import robust_lr_optuna

    assert load().GeometricGridSampler is robust_lr_optuna.GeometricGridSampler


def test_the_readme_has_the_front_matter_and_sections_of_the_registry():
    front, _, text = (PACKAGE / "README.md").read_text(encoding="utf-8").removeprefix("---\n").partition("\n---\n")
    fields = dict(line.split(": ", 1) for line in front.splitlines())
    assert set(fields) == {"author", "title", "description", "tags", "optuna_versions", "license"}
    assert "sampler" in fields["tags"] and fields["license"] == "MIT License"
    assert all(f"## {title}" in text for title in ("Abstract", "Class or Function Names", "Installation", "Example"))
    assert (PACKAGE / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
    listed = text.partition("## Class or Function Names")[2].partition("##")[0]
    assert {line[2:] for line in listed.splitlines() if line.startswith("- ")} == set(load().__all__)


def test_the_example_runs(monkeypatch, capsys):
    monkeypatch.setattr(optunahub, "load_module", lambda package: load())
    optuna.logging.disable_default_handler()
    try:
        ran = runpy.run_path(str(PACKAGE / "example.py"), run_name="__main__")
    finally:
        optuna.logging.enable_default_handler()
    finished = ran["study"].get_trials(states=[optuna.trial.TrialState.COMPLETE])
    assert len({(t.params["lr"], t.params["seed"]) for t in finished}) == len(finished) == 13 * 3
    assert "lr" in capsys.readouterr().out


def test_the_block_in_the_readme_runs(monkeypatch):
    monkeypatch.setattr(optunahub, "load_module", lambda package: load())
    block = (PACKAGE / "README.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    space: dict = {}
    exec(compile(block, "README", "exec"), space)
    assert len(space["study"].get_trials(states=[optuna.trial.TrialState.COMPLETE])) == 21
