"""Compare definitions of files to those that the service has."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from schemas.definitions import ID_FORMAT, is_id
from schemas.errors import AvilaError, InvalidRequest, NotFound
from services.apply.client import Client
from services.apply.documents import Document
from services.apply.kinds import KINDS, Kind, kind_of


class Wanted(NamedTuple):
    """A definition of a file: `fields` are those of its body as they are given."""

    document: Document
    kind: Kind
    project: str
    id: str
    fields: dict[str, Any]

    @property
    def name(self) -> str:
        """What it is, for messages."""
        return f"{self.kind.name} {self.id} of project {self.project}"


class Changed(NamedTuple):
    """A definition that differs: `before` is None, and `revision` too, if there is none yet."""

    wanted: Wanted
    before: dict[str, Any] | None
    after: dict[str, Any]
    revision: int | None

    @property
    def differs(self) -> bool:
        """Whether anything is to be written."""
        return self.before is None or _text(self.before) != _text(self.after)

    def lines(self) -> Iterator[str]:
        """Yield the differences, field by field, as a diff has them."""
        before = self.before or {}
        for name, value in self.after.items():
            was = before.get(name)
            if name in before and _text(was) == _text(value):
                continue
            if name in before:
                yield f"  - {name}: {_text(was)}"
            if name in before or name in self.wanted.fields:
                yield f"  + {name}: {_text(value)}"


def read_wanted(documents: Sequence[Document], project: str) -> list[Wanted]:
    """Return the definitions of documents, what others refer to first.

    `project` is that of documents that name none.

    Raises:
        InvalidRequest: some are none. The message names all of them, with file, document and field.
    """
    found: list[Wanted] = []
    faults: list[str] = []
    seen: dict[tuple[str, str, str], Document] = {}
    for document in documents:
        try:
            wanted = _read(document, project)
            wanted.kind.read(wanted.fields, {})
            key = (wanted.project, wanted.kind.name, wanted.id)
            if key in seen:
                raise InvalidRequest(f"{wanted.name} is in {seen[key].place}, too", "id")
        except InvalidRequest as error:
            faults.append(f"{document.place}: {error}")
        else:
            seen[key] = document
            found.append(wanted)
    if faults:
        raise InvalidRequest("\n".join(["nothing was applied:", *faults]))
    order = list(KINDS)
    return sorted(found, key=lambda one: order.index(one.kind.name))


def compare(client: Client, wanted: Sequence[Wanted]) -> list[Changed]:
    """Return what each definition changes, by what the service has now.

    Raises:
        InvalidRequest: one cannot be, by the settings of its project; names its place.
        Unavailable, Unauthorized: the service does not answer this.
    """
    settings: dict[str, dict[str, Any]] = {}
    changed = []
    for one in wanted:
        if one.project not in settings:
            settings[one.project] = client.ask("GET", one.project, "settings")
        changed.append(_compare(client, one, settings[one.project]))
    return changed


def _compare(client: Client, wanted: Wanted, settings: dict[str, Any]) -> Changed:
    try:
        after = wanted.kind.read(wanted.fields, settings)
        shown = client.ask("GET", wanted.project, f"{wanted.kind.plural}/{wanted.id}")
    except NotFound:
        return Changed(wanted, None, after, None)
    except InvalidRequest as error:
        raise InvalidRequest(f"{wanted.document.place}: {error}") from None
    try:
        before = wanted.kind.shown(shown)
    except AvilaError:
        # A service of another version has shown what this one cannot read: it is replaced.
        before = {}
    return Changed(wanted, before, after, shown["revision"])


def _read(document: Document, project: str) -> Wanted:
    fields = dict(document.fields)
    kind = kind_of(fields)
    del fields["kind"]
    for name, default in (("project", project), ("id", None)):
        value = fields.get(name, default)
        if not isinstance(value, str) or not is_id(value):
            raise InvalidRequest(f"accepted are {ID_FORMAT}", name)
    named = str(fields.pop("project", project))
    return Wanted(document, kind, named, str(fields.pop("id")), fields)


def _text(value: Any) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()
