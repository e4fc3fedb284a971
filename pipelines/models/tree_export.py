"""Trees and forests of River as arrays that score alike, to the last bit.

A node is a row of each array: `split_features` is the column that it compares, or -1 for a leaf;
`thresholds` is the largest value that goes to the left; `children` (nodes, 2) are the nodes to the
left and right, which follow it; `shares` (nodes, 2) is what `predict_proba_one` of the tree returns
in a leaf, of False and of True. `roots` are the first nodes of the trees, and `votes` what each
tree's shares are multiplied with. The score of a forest is its sum for True, divided by both sums,
as River adds them up; that of a single tree is its share of True.
"""

from typing import Any, Final

import numpy as np

from pipelines.columnar.jit import Int, Int64s, kernel, register_example
from pipelines.models.arrays import Arrays, Float, Float64s, Rows
from pipelines.models.parts import REASON, ArrayReader
from pipelines.models.rows import checked_rows
from schemas.errors import InvalidRecord
from schemas.model_spec import ModelSpec

MAX_DEPTH: Final = 8  # of a tree: at most 256 leaves
MAX_TREES: Final = 10  # of a forest, which has all of them
MAX_NODES: Final = MAX_TREES * (2 ** (MAX_DEPTH + 1) - 1)
_LEAF: Final = -1


class TreeScorer:
    """Scores with exported trees, and cannot learn: the model is rebuilt from its examples.

    It is a `Scorer`. A score equals `predict_proba_one` of River's model when it was exported.
    """

    def __init__(self, spec: ModelSpec, features: tuple[str, ...], arrays: Arrays) -> None:
        """Take the arrays of a model.

        Raises:
            InvalidRecord: they are not trees over these features: an index is out of range, a share
                is negative, a child does not follow its node, or a tree is too deep.
        """
        self.spec: Final = spec
        self.features: Final = features
        with ArrayReader(arrays) as reader:
            self.version: Final = reader.count("learned")
            nodes, trees = reader.size("thresholds"), reader.size("roots")
            if nodes > MAX_NODES or trees > MAX_TREES:
                raise InvalidRecord(
                    REASON, f"at most {MAX_NODES} nodes and {MAX_TREES} trees are accepted"
                )
            self._splits = reader.ints("split_features", (nodes,), _LEAF, len(features) - 1)
            self._thresholds = reader.floats("thresholds", (nodes,))
            self._children = reader.ints("children", (nodes, 2), _LEAF, nodes - 1)
            self._shares = reader.floats("shares", (nodes, 2), least=0.0)
            self._roots = reader.ints("roots", (trees,), 0, nodes - 1)
            self._votes = reader.floats("votes", (trees,), least=0.0)
        inner = self._splits != _LEAF
        if (self._children[inner] <= np.flatnonzero(inner)[:, None]).any():
            raise InvalidRecord(REASON, "children: must follow their node")
        self._check_depth()
        if spec.kind == "hoeffding_tree" and trees > 1:
            raise InvalidRecord(REASON, "roots: must be one tree")

    def _check_depth(self) -> None:
        level = self._roots
        for _ in range(MAX_DEPTH + 1):
            level = np.unique(self._children[level[self._splits[level] != _LEAF]])
        if len(level):
            raise InvalidRecord(REASON, f"children: must be at most {MAX_DEPTH} levels deep")

    def predict_many(self, rows: Rows) -> Float64s:
        """Return the score of each row; see `Scorer`."""
        rows = checked_rows(rows, len(self.features))
        scores = np.empty(len(rows))
        _score(
            self._splits,
            self._thresholds,
            self._children,
            self._shares,
            self._roots,
            self._votes,
            self.spec.kind == "adaptive_random_forest",
            rows,
            scores,
        )
        return scores

    def contributions(self, rows: Rows, count: int) -> None:
        """Return None: no part of a score is one feature's; see `Scorer`."""

    def arrays(self) -> Arrays:
        """Return the arrays that it was made of, copied."""
        return {
            "learned": np.array([self.version], np.int64),
            "split_features": self._splits.copy(),
            "thresholds": self._thresholds.copy(),
            "children": self._children.copy(),
            "shares": self._shares.copy(),
            "roots": self._roots.copy(),
            "votes": self._votes.copy(),
        }


def exported(estimator: Any, features: tuple[str, ...]) -> dict[str, Float64s | Int64s]:
    """Return a Hoeffding tree or an adaptive random forest of River as arrays.

    Its leaves must predict by majority class.
    """
    if hasattr(estimator, "data"):
        trees = list(estimator.data)
        metrics = [metric.get() for metric in estimator._metrics]  # noqa: SLF001 # River has no getter
        votes = [value if value > 0.0 else 1.0 for value in metrics][: len(trees)]
    else:
        trees, votes = [estimator], [1.0]
    nodes = _Nodes({name: column for column, name in enumerate(features)})
    planted = [(tree._root, vote) for tree, vote in zip(trees, votes, strict=True)]  # noqa: SLF001
    planted = [(root, vote) for root, vote in planted if root is not None]
    roots = [nodes.add(root) for root, _ in planted]
    return {
        "split_features": np.array(nodes.splits, np.int64),
        "thresholds": np.array(nodes.thresholds, np.float64),
        "children": np.array(nodes.children, np.int64).reshape(-1, 2),
        "shares": np.array(nodes.shares, np.float64).reshape(-1, 2),
        "roots": np.array(roots, np.int64),
        "votes": np.array([vote for _, vote in planted], np.float64),
    }


class _Nodes:
    """Collects nodes, each before its children."""

    def __init__(self, columns: dict[str, int]) -> None:
        self._columns = columns
        self.splits: list[int] = []
        self.thresholds: list[float] = []
        self.children: list[list[int]] = []
        self.shares: list[tuple[float, float]] = []

    def add(self, node: Any) -> int:
        """Add a node and all below it; return its place."""
        place = len(self.splits)
        self.children.append([_LEAF, _LEAF])
        if hasattr(node, "threshold"):
            self.splits.append(self._columns[node.feature])
            self.thresholds.append(float(node.threshold))
            self.shares.append((0.0, 0.0))
            self.children[place] = [self.add(child) for child in node.children]
        else:
            shares = node.prediction({})
            self.splits.append(_LEAF)
            self.thresholds.append(0.0)
            self.shares.append((float(shares.get(False, 0.0)), float(shares.get(True, 0.0))))
        return place


@kernel
def _score(
    splits: Int64s,
    thresholds: Float64s,
    children: Int64s,
    shares: Float64s,
    roots: Int64s,
    votes: Float64s,
    vote: bool,
    rows: Rows,
    scores: Float64s,
) -> None:
    for i in range(len(rows)):
        false, true = 0.0, 0.0
        for tree in range(len(roots)):
            leaf = _leaf(splits, thresholds, children, roots[tree], rows[i])
            false += shares[leaf, 0] * votes[tree]
            true += shares[leaf, 1] * votes[tree]
        total: Float = false + true
        if vote and total > 0.0:
            true = np.true_divide(true, total)
        scores[i] = true


@kernel
def _leaf(splits: Int64s, thresholds: Float64s, children: Int64s, root: Int, row: Rows) -> Int:
    node = root
    while splits[node] >= 0:
        right = 0 if np.float64(row[splits[node]]) <= thresholds[node] else 1
        node = children[node, right]
    return node


@register_example
def _precompile() -> None:
    arrays: Arrays = {
        "learned": np.zeros(1, np.int64),
        "split_features": np.array([0, -1, -1]),
        "thresholds": np.zeros(3),
        "children": np.array([[1, 2], [-1, -1], [-1, -1]]),
        "shares": np.zeros((3, 2)),
        "roots": np.zeros(1, np.int64),
        "votes": np.ones(1),
    }
    scorer = TreeScorer(ModelSpec("hoeffding_tree"), ("a",), arrays)
    scorer.predict_many(np.zeros((1, 1), np.float32))
