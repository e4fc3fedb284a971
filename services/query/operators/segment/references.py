"""References between segments: which segment uses which, and rules without references.

A rule also refers to the predictions whose scores it asks for.
"""

from collections.abc import Collection, Mapping

from schemas.errors import InvalidRequest
from schemas.operators.segment import Rule, check_rule, predictions, references, resolve


class References:
    """The references in a project's rules, which are given as they were written.

    `predictions` are the ids of the project's predictions.
    """

    def __init__(self, rules: Mapping[str, Rule], predictions: Collection[str] = ()) -> None:
        self._rules = rules
        self._predictions = predictions
        self._used = {name: references(rule, "rule") for name, rule in rules.items()}
        self._resolved: dict[str, Rule] = {}

    def users(self, name: str) -> list[str]:
        """Return the segments that refer to one."""
        used = ((user, [other for other, _ in found]) for user, found in self._used.items())
        return sorted(user for user, others in used if name in others)

    def all_users(self, name: str) -> list[str]:
        """Return the segments that refer to one, directly or by way of others."""
        found: dict[str, None] = {}
        waiting = [name]
        while waiting:
            new = [user for user in self.users(waiting.pop()) if user not in found]
            found |= dict.fromkeys(new)
            waiting += new
        return [user for user in found if user != name]

    def resolved(self, name: str) -> Rule:
        """Return the rule of a segment, with the rules of others in the place of references.

        Raises:
            InvalidRequest: it refers to a segment that is not there, or to itself by way of
                others, or becomes too large.
        """
        return self._resolve(name, ())

    def _resolve(self, name: str, above: tuple[str, ...]) -> Rule:
        known = self._resolved.get(name)
        if known is not None:
            return known
        for prediction, path in predictions(self._rules[name], "rule"):
            if prediction not in self._predictions:
                raise InvalidRequest(f"there is no prediction {prediction}", path)
        here = (*above, name)
        for other, path in self._used[name]:
            if other in here:
                circle = " → ".join([*here[here.index(other) :], other])
                raise InvalidRequest(f"segments refer to each other in a circle: {circle}", path)
            if other not in self._rules:
                raise InvalidRequest(f"there is no segment {other}", path)
        rule = resolve(self._rules[name], lambda other: self._resolve(other, here))
        # At most 32 rules that were accepted are combined here, so the size is bounded.
        _check_whole(rule)
        self._resolved[name] = rule
        return rule


def _check_whole(rule: Rule) -> None:
    try:
        check_rule(rule, "rule")
    except InvalidRequest as error:
        raise InvalidRequest(
            f"{error.reason}, those of the segments it refers to included", "rule"
        ) from None
