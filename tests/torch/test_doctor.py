"""`ScheduleDoctor` names the faults of loops that have one, and finds nothing in the others."""

import gc

import pytest
import torch

from robust_lr.exceptions import OptionError
from robust_lr_torch import ScheduleDoctor
from tests.torch import framework_loops
from tests.torch.doctor_loops import CLEAN, FAULTS, Model

pytestmark = [
    pytest.mark.filterwarnings("ignore:The epoch parameter"),  # torch's own call inside SequentialLR
    pytest.mark.filterwarnings("ignore::robust_lr.exceptions.RobustLRWarning"),  # of AnnealedLR
    pytest.mark.filterwarnings("ignore:Detected call of"),
    pytest.mark.filterwarnings("ignore:.*optimizer.step..` has been overridden"),
]


@pytest.fixture(autouse=True, scope="module")
def few_objects():
    """The doctor looks for schedulers among all objects; those of the imports before would take most of the time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name):
    loop, codes = FAULTS[name]
    doctor = loop()
    doctor.close()
    assert {finding.code for finding in doctor.findings()} == codes, doctor.report()


@pytest.mark.parametrize("name", CLEAN)
def test_a_loop_without_a_fault_has_no_finding(name):
    doctor = CLEAN[name]()
    doctor.close()
    assert doctor.findings() == (), doctor.report()


# The others start slowly; one of each framework stays.
QUICK = ("trainer_with_a_cosine_that_is_too_short", "lightning_that_steps_per_epoch", "lightning_per_step")


def quick_first(names):
    return [
        name if name in QUICK or name.startswith("accelerate") else pytest.param(name, marks=pytest.mark.slow)
        for name in names
    ]


@pytest.mark.parametrize("name", quick_first(framework_loops.FAULTS))
def test_a_fault_in_the_loop_of_a_framework_is_named(name, tmp_path):
    loop, codes = framework_loops.FAULTS[name]
    doctor = loop(tmp_path)
    assert {finding.code for finding in doctor.findings()} == codes, doctor.report()


@pytest.mark.parametrize("name", quick_first(framework_loops.CLEAN))
def test_a_loop_of_a_framework_without_a_fault_has_no_finding(name, tmp_path):
    doctor = framework_loops.CLEAN[name](tmp_path)
    assert doctor.findings() == (), doctor.report()


def test_what_is_certain_is_said_at_once():
    said = []
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=20)
    doctor = ScheduleDoctor(optimizer, scheduler, on_finding=lambda found: said.append((found.code, doctor.n_steps)))
    for _ in range(200):
        optimizer.step()
        scheduler.step()
    assert said == [("horizon-shorter", 33)]


def test_a_horizon_that_cannot_fit_the_planned_steps_is_said_near_the_start():
    said = []
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=1000)
    doctor = ScheduleDoctor(optimizer, scheduler, total_steps=300, on_finding=said.append)
    for _ in range(20):
        optimizer.step()
        scheduler.step()
    assert [finding.code for finding in said] == ["horizon-longer"]
    doctor.close()


def test_without_on_finding_certain_findings_are_logged(caplog):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    other = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(other, T_max=100)
    doctor = ScheduleDoctor(optimizer, scheduler)
    for _ in range(20):
        optimizer.step()
    assert "rate-never-applied: CosineAnnealingLR sets the rates of another optimizer" in caplog.text
    doctor.close()


def test_a_doctor_that_is_closed_sees_no_more_and_keeps_its_findings():
    doctor = FAULTS["cosine_of_twice_the_steps"][0]()
    doctor.close()
    before = doctor.report()
    for _ in range(200):
        doctor.optimizer.step()
    assert doctor.n_steps == 100
    assert doctor.report() == before


def test_the_training_is_the_same_with_a_doctor():
    def trained(watch):
        model = Model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        doctor = ScheduleDoctor(optimizer) if watch else None
        for _ in range(40):
            optimizer.zero_grad()
            model.loss().backward()
            optimizer.step()
        return [p.tolist() for p in model.parameters()], doctor

    assert trained(True)[0] == trained(False)[0]


def test_a_doctor_that_fails_does_not_stop_the_training(caplog, monkeypatch):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    doctor = ScheduleDoctor(optimizer)
    monkeypatch.setattr("robust_lr_torch.doctor.surroundings", lambda: 1 / 0)
    optimizer.step()
    optimizer.step()
    assert "it failed, and watches no more: ZeroDivisionError" in caplog.text
    assert doctor.findings() == ()


def test_what_is_no_optimizer_or_scheduler_is_refused():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(OptionError, match="optimizer must be a torch Optimizer, got 3"):
        ScheduleDoctor(3)
    with pytest.raises(OptionError, match="scheduler must be a torch LRScheduler, got 'cosine'"):
        ScheduleDoctor(optimizer, "cosine")
    with pytest.raises(OptionError, match="total_steps must be a whole number of at least 1"):
        ScheduleDoctor(optimizer, total_steps=0)
