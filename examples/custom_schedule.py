"""Three ways to define your own schedule, and what theory says about it before you train.

python examples/custom_schedule.py
"""

import numpy as np

from robust_lr import FunctionSchedule, TableSchedule, parse_schedule
from robust_lr.theory import grid_guarantee, misspecification_curve, robustness_exponent

TOTAL_STEPS = 10_000


def step_decay(step, total_steps):
    """Ten times smaller at half and at three quarters of the run: common, but it does not reach zero."""
    progress = step / total_steps
    return np.where(progress < 0.5, 1.0, np.where(progress < 0.75, 0.1, 0.01))


if __name__ == "__main__":
    schedules = {
        "composed from parts": parse_schedule("warmup(0.05)+inverse-sqrt(timescale=100)+cooldown(0.2)"),
        "your own function": FunctionSchedule(step_decay),
        "the same, annealed": FunctionSchedule(step_decay).with_cooldown(0.25),
        "a table of values": TableSchedule([1.0, 1.0, 0.8, 0.5, 0.2, 0.05, 0.0]),
        "for comparison, cosine": parse_schedule("cosine"),
    }
    print(f"{'schedule':24} {'10x too high':>12} {'exponent':>9} {'ratio-10 grid':>14}")
    for name, schedule in schedules.items():
        too_high = float(misspecification_curve(schedule, 10.0, total_steps=TOTAL_STEPS))
        exponent = robustness_exponent(schedule, total_steps=TOTAL_STEPS)
        worst = grid_guarantee(schedule, 10.0, total_steps=TOTAL_STEPS).worst
        print(f"{name:24} {too_high:12.2f} {exponent:9.2f} {worst:14.2f}")
    print("Factors on the suboptimality, worst case over convex problems: bound, not prediction.")
