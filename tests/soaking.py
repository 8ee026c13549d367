"""Many examples of a state machine, a part at a time: Hypothesis keeps all that it has seen of one run in memory."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def soak(kind: type[RuleBasedStateMachine], number: int, *, examples: int, steps: int) -> None:
    """Run one part of a soak.

    :param number: of the part: its seed.
    """
    part = seed(number)(type(kind.__name__, (kind,), {}))
    run_state_machine_as_test(
        part,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
