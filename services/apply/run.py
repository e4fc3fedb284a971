"""Write the definitions that differ, and say what was written if that ends early."""

from collections.abc import Callable, Sequence

from schemas.errors import AvilaError, Conflict, InvalidRequest, NotFound
from services.apply.changes import Changed
from services.apply.client import Client


class PartlyApplied(AvilaError):
    """Correct what the message says and apply again: what was applied stays as it is."""

    code = "partly_applied"


def write(client: Client, changed: Sequence[Changed], say: Callable[[str], None]) -> None:
    """Write what differs, and pass a line about each to `say`.

    A definition may refer to another one that comes later in the files: what is refused for that is
    tried again after the others, as long as any is written.

    Raises:
        PartlyApplied: says what was applied, what was not, and why.
    """
    left = [one for one in changed if one.differs]
    done: list[str] = []
    while left:
        refused: list[tuple[Changed, AvilaError]] = []
        for place, one in enumerate(left):
            try:
                _write(client, one)
            except (InvalidRequest, NotFound, Conflict) as error:
                refused.append((one, error))
            except AvilaError as error:
                raise _partly(done, [*refused, (one, error)], left[place + 1 :]) from None
            else:
                done.append(one.wanted.name)
                say(f"applied: {one.wanted.name}")
        if len(refused) == len(left):
            raise _partly(done, refused, [])
        left = [one for one, _ in refused]


def _write(client: Client, changed: Changed) -> None:
    wanted = changed.wanted
    kind, path = wanted.kind, f"{wanted.kind.plural}/{wanted.id}"
    if changed.revision is None and kind.create == "POST":
        client.ask("POST", wanted.project, kind.plural, {**wanted.fields, "id": wanted.id})
        return
    client.ask("PUT", wanted.project, path, wanted.fields, changed.revision)


def _partly(
    done: Sequence[str],
    refused: Sequence[tuple[Changed, AvilaError]],
    untried: Sequence[Changed],
) -> PartlyApplied:
    lines = [f"applied: {', '.join(done) or 'nothing'}"]
    lines += [
        f"not applied: {one.wanted.document.place}: {one.wanted.name}: {error}"
        for one, error in refused
    ]
    lines += [f"not tried: {one.wanted.name}" for one in untried]
    return PartlyApplied("\n".join(lines))
