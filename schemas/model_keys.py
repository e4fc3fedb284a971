"""The keys of `avila.models`: `project/prediction/version/tag/model`."""

from typing import Final, NamedTuple

from schemas.examples.checksum import from_signed, to_signed
from schemas.examples.columns import Task

_TAG_DIGITS: Final = 16


class ModelKey(NamedTuple):
    """Names a model of one version of a prediction.

    `tag` tells a prediction that was deleted from one that was created later under its id.
    """

    project_id: str
    prediction_id: str
    version: int
    tag: int
    model: str

    @classmethod
    def of(cls, task: Task, model: str) -> "ModelKey":
        """Return the key of a task's model."""
        return cls(task.project_id, task.prediction_id, task.version, task.tag, model)

    @classmethod
    def parse(cls, key: bytes) -> "ModelKey":
        """Return the key that a record has.

        Raises:
            ValueError: it is not a key of a model.
        """
        project_id, prediction_id, version, tag, model = key.decode().split("/", 4)
        if len(tag) != _TAG_DIGITS:
            raise ValueError(f"{tag!r} is not a tag of {_TAG_DIGITS} digits")
        return cls(project_id, prediction_id, int(version), to_signed(int(tag, 16)), model)

    def encode(self) -> bytes:
        """Return the key of a record."""
        tag = f"{from_signed(self.tag):0{_TAG_DIGITS}x}"
        parts = self.project_id, self.prediction_id, str(self.version), tag, self.model
        return "/".join(parts).encode()
