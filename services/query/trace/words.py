"""What an event did to a chain, in words."""

from schemas.operators.funnel import Funnel
from services.query.trace.chains import Effect, End

_UNITS = ((86_400_000, "day"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


def duration(ms: int) -> str:
    """Return a length of time as people say it: `4 min`, `2 h 5 min`, `3 days`."""
    for place, (unit, name) in enumerate(_UNITS):
        if ms >= unit:
            count, rest = divmod(ms, unit)
            plural = "s" if name == "day" and count > 1 else ""
            finer = _UNITS[place + 1] if place + 1 < len(_UNITS) else None
            more = rest // finer[0] if finer and count < 10 else 0
            return f"{count} {name}{plural}" + (f" {more} {finer[1]}" if finer and more else "")
    return f"{ms} ms"


def effect_text(funnel: Funnel, effect: Effect, event: str) -> str:
    """Return a sentence for an effect of an event of a name."""
    step = effect.step
    match effect.code:
        case "began":
            return f"{_step(funnel, step, event)} reached: a chain begins"
        case "restarted":
            return f"{_step(funnel, step, event)} again: a new chain begins beside the earlier one"
        case "step_reached":
            return f"{_step(funnel, step, event)} reached"
        case "already_reached":
            return f"{_step(funnel, step, event)} was reached already, or passed over"
        case "too_early":
            return f"{_step(funnel, step, event)} cannot come yet: a step before it is missing"
        case "condition_not_met":
            return f"{event} is step {step}, but its conditions do not hold"
        case "held_property_differs":
            held = ", ".join(funnel.hold_constant)
            return f"would be step {step}, but {held} differs from that of the chain's first event"
        case "excluded":
            return f"excluded by {event}: the chain ends after step {step}"
        case "interrupted":
            return f"interrupted by {event}: each step must be the very next event"
        case "window_closed":
            return f"would be step {step}, but the window closed {duration(effect.ms)} earlier"
        case "no_effect":
            return "has no effect on the chain here"


def end_text(funnel: Funnel, end: End, last: int) -> str:
    """Return a sentence for the end of a chain that has come to a step."""
    match end:
        case "completed":
            return "reached the last step"
        case "excluded":
            return f"excluded after step {last}"
        case "interrupted":
            return f"interrupted after step {last}"
        case "window_closed":
            window = duration(1_000 * funnel.window_s)
            return f"the window of {window} closed after step {last}"
        case "open":
            return f"at step {last}, and the window is still open"


def _step(funnel: Funnel, step: int, event: str) -> str:
    of = f" of {len(funnel.steps)}" if funnel.order == "any" else ""
    return f"step {step}{of} ({event})"
