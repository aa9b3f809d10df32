"""`ScheduleDoctor` names the faults of loops that have one, and finds nothing in the others."""

import pytest

from tests.torch.doctor_loops import CLEAN, FAULTS

pytestmark = [
    pytest.mark.filterwarnings("ignore:The epoch parameter"),  # torch's own call inside SequentialLR
    pytest.mark.filterwarnings("ignore::robust_lr.exceptions.RobustLRWarning"),  # of AnnealedLR
    pytest.mark.filterwarnings("ignore:Detected call of"),
    pytest.mark.filterwarnings("ignore:.*optimizer.step..` has been overridden"),
]


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
