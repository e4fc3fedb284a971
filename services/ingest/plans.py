"""Tracking plans: the JSON schema that the properties of an event must match, by event name.

The plans follow the definitions topic, so a change applies within a second. The following thread
compiles each schema once, when it reads it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import structlog
from confluent_kafka import Message

from schemas.definitions import parse_key
from schemas.errors import InvalidRequest
from schemas.plans import Checker, Mode, decode
from services.ingest.check import join_warnings
from services.ingest.events import Row

_log = structlog.get_logger()


class Rule(NamedTuple):
    """A plan with its schema compiled."""

    id: str
    event: str
    mode: Mode
    checker: Checker


class PlanChange(NamedTuple):
    """The new rule of a plan; None if the plan was deleted or cannot be used."""

    project_id: str
    plan_id: str
    rule: Rule | None


class Plans:
    """The current plans. Use it from one thread.

    Attributes:
        rules: by project and event name; projects without plans are absent.
    """

    def __init__(self) -> None:
        self.rules: dict[str, dict[str, Rule]] = {}
        self._plans: dict[str, dict[str, Rule]] = {}

    def apply(self, changes: Sequence[PlanChange]) -> None:
        """Apply changes in the order of the topic; applying them again changes nothing."""
        for project_id, plan_id, rule in changes:
            plans = self._plans.setdefault(project_id, {})
            plans.pop(plan_id, None)
            if rule is not None:
                plans[plan_id] = rule
        for project_id in {change.project_id for change in changes}:
            plans = self._plans[project_id]
            # Two plans for one event can only be written past the API. All processes pick the same.
            rules = {
                plans[plan_id].event: plans[plan_id] for plan_id in sorted(plans, reverse=True)
            }
            if rules:
                self.rules[project_id] = rules
            else:
                self.rules.pop(project_id, None)


def conform(row: Row, rule: Rule) -> Row:
    """Return `row`, with a warning if its properties violate a `rule` that only observes.

    Raises:
        InvalidRequest: the properties violate an enforced rule; names the property and the reason.
    """
    try:
        fault = rule.checker.fault(msgspec.json.decode(row.properties))
    except (ValueError, RecursionError) as error:
        fault = InvalidRequest(f"cannot be read: {error}", "properties")
    if fault is None:
        return row
    if rule.mode == "enforce":
        raise InvalidRequest(f"{fault.reason} (tracking plan {rule.id})", fault.field)
    warning = join_warnings(row.warning, f"{fault} (tracking plan {rule.id})")
    return msgspec.structs.replace(row, warning=warning)


def read_changes(messages: list[Message]) -> list[PlanChange]:
    """Return the changes of plans among records of the definitions topic.

    Logs a line for each plan that cannot be used. Such a plan does not apply, and neither does the
    version that it replaces.
    """
    changes = []
    for message in messages:
        try:
            project_id, kind, plan_id = parse_key(message.key() or b"")
        except ValueError:
            continue
        if kind == "plan":
            changes.append(PlanChange(project_id, plan_id, _rule(plan_id, message)))
    return changes


def _rule(plan_id: str, message: Message) -> Rule | None:
    value = message.value()
    if value is None:
        return None
    try:
        plan = decode(value).plan
        return Rule(plan_id, plan.event, plan.mode, Checker(plan.schema))
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidRequest) as error:
        _log.error("plan_skipped", key=message.key(), offset=message.offset(), reason=str(error))
        return None
