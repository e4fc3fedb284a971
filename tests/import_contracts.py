"""A contract for import-linter, which `make lint` runs: see `[tool.importlinter]`."""

from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields
from importlinter.contracts.layers import LayersContract


class IndependentOperators(Contract):
    """Operators do not import each other; all may import what they share.

    Every child of `containers` is an operator, unless its name is one of `shared`: a new operator
    is held to the contract without being listed anywhere.
    """

    containers: Any = fields.ListField(subfield=fields.StringField())
    shared: Any = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Check each container; the first that is broken is the result."""
        for container in self.containers:
            children = {child.rpartition(".")[2] for child in graph.find_children(container)}
            shared = children & set(self.shared)
            layers = [
                joint.join(sorted(names))
                for joint, names in ((" | ", children - shared), (" : ", shared))
                if names
            ]
            self._layers = LayersContract(
                self.name, self.session_options, {"containers": [container], "layers": layers}
            )
            result = self._layers.check(graph, verbose)
            if not result.kept:
                break
        return result

    def render_broken_contract(self, check: Any) -> None:
        """Print the imports that break it."""
        self._layers.render_broken_contract(check)
