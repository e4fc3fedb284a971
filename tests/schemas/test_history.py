import pytest

from schemas.avro.files import history, load, names
from schemas.avro.resolution import incompatible


@pytest.mark.parametrize("name", names())
def test_a_schema_is_in_its_history_and_reads_all_of_it(name: str) -> None:
    current, earlier = load(name), history(name)
    problems = incompatible("BACKWARD_TRANSITIVE", current, earlier)

    assert not problems, (
        f"schemas/{name}.avsc no longer reads what was written before: "
        f"{'; '.join(map(str, problems))}. Give new fields a default, keep the old ones' types, "
        "and rename by alias."
    )
    assert earlier[-1:] == [current], (
        f"schemas/{name}.avsc has changed: copy it to "
        f"schemas/history/{name}/{len(earlier) + 1}.avsc and commit both. "
        "The earlier files stay as they are: values written with them are still in the topics."
    )
