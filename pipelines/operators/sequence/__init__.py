"""Ordered steps: how far each person gets through them, and how long it takes.

Funnels and segments share this package and use only what is exported here.
"""

from pipelines.operators.sequence.columns import STEP_CHANGE, STEP_TIMEOUT, SequenceShape
from pipelines.operators.sequence.state import SequenceState

__all__ = ["STEP_CHANGE", "STEP_TIMEOUT", "SequenceShape", "SequenceState"]
