"""The tracking plans as the path sees them: what an event's properties have to be, by its name.

They follow the definitions topic, and hold within a second of being written. A schema is compiled
once, when it is read, on the thread that follows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import structlog
from confluent_kafka import Message

from schemas.definitions import parse_key
from schemas.errors import InvalidRequest
from schemas.plans import Checker, Mode, decode
from services.ingest.events import Row

_log = structlog.get_logger()


class Rule(NamedTuple):
    """A plan, ready to check events against."""

    id: str
    event: str
    mode: Mode
    checker: Checker


class Change(NamedTuple):
    """A plan's new rule; None if it is deleted or cannot be used."""

    project_id: str
    plan_id: str
    rule: Rule | None


class Plans:
    """The plans as they stand; for one thread.

    Attributes:
        rules: by project and event name; a project without plans is not in it.
    """

    def __init__(self) -> None:
        self.rules: dict[str, dict[str, Rule]] = {}
        self._plans: dict[str, dict[str, Rule]] = {}

    def apply(self, changes: Sequence[Change]) -> None:
        """Take in changes in the order of the topic; applying some again changes nothing."""
        for project_id, plan_id, rule in changes:
            plans = self._plans.setdefault(project_id, {})
            plans.pop(plan_id, None)
            if rule is not None:
                plans[plan_id] = rule
        for project_id in {change.project_id for change in changes}:
            plans = self._plans[project_id]
            # If a stranger has written two plans for one event, all processes pick the same one.
            rules = {
                plans[plan_id].event: plans[plan_id] for plan_id in sorted(plans, reverse=True)
            }
            if rules:
                self.rules[project_id] = rules
            else:
                self.rules.pop(project_id, None)


def conform(row: Row, rule: Rule) -> Row:
    """Return `row`, with a warning if its properties are not as `rule` wants and it only observes.

    Raises:
        InvalidRequest: they are not, and the rule is enforced; names the property and the reason.
    """
    try:
        fault = rule.checker.fault(msgspec.json.decode(row.properties))
    except (ValueError, RecursionError) as error:
        fault = InvalidRequest(f"cannot be read: {error}", "properties")
    if fault is None:
        return row
    if rule.mode == "enforce":
        raise InvalidRequest(f"{fault.reason} (tracking plan {rule.id})", fault.field)
    warning = f"{fault} (tracking plan {rule.id})"
    if row.warning:
        warning = f"{row.warning}; {warning}"
    return msgspec.structs.replace(row, warning=warning)


def read_changes(messages: list[Message]) -> list[Change]:
    """Read records of the definitions topic; those of other kinds are not in.

    Pure but for a line in the log for each plan that cannot be used: it does not hold then, and
    neither does the one that it was to replace.
    """
    changes = []
    for message in messages:
        try:
            project_id, kind, plan_id = parse_key(message.key() or b"")
        except ValueError:
            continue
        if kind == "plan":
            changes.append(Change(project_id, plan_id, _rule(plan_id, message)))
    return changes


def _rule(plan_id: str, message: Message) -> Rule | None:
    value = message.value()
    if value is None:
        return None
    try:
        plan = decode(value).plan
        return Rule(plan_id, plan.event, plan.mode, Checker(plan.schema))
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidRequest) as error:
        _log.error("plan_left_out", key=message.key(), offset=message.offset(), reason=str(error))
        return None
