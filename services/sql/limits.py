"""What one statement of a user may cost."""

from collections.abc import Mapping
from typing import Final

from services.sql.views import project_filter

MAX_EXECUTION_S: Final = 30
MAX_MEMORY_BYTES: Final = 3 << 27
MAX_RESULT_BYTES: Final = 32 << 20
MAX_RESULT_ROWS: Final = 1_000_000
MAX_ROWS_TO_READ: Final = 2_000_000_000

# A result that is streamed has no limit in rows; its reader sets the pace.
STREAMED: Final[Mapping[str, int]] = {
    "max_execution_time": 300,
    "max_memory_usage": 1 << 28,
    "max_result_rows": 0,
    "max_result_bytes": 0,
    # The types of columns are converted in a query around the statement, whose order remains.
    "query_plan_remove_redundant_sorting": 0,
}

# The limits that a client may lower for a statement.
LOWERABLE: Final[Mapping[str, int]] = {
    "max_execution_time": MAX_EXECUTION_S,
    "max_memory_usage": MAX_MEMORY_BYTES,
    "max_rows_to_read": MAX_ROWS_TO_READ,
    "max_result_rows": MAX_RESULT_ROWS,
    "max_result_bytes": MAX_RESULT_BYTES,
    "max_threads": 2,
}
_LIMITS: Final[Mapping[str, int]] = {
    "readonly": 1,
    **LOWERABLE,
    "max_temporary_data_on_disk_size_for_query": MAX_MEMORY_BYTES,
    # Compiling the expressions of a statement that runs once costs more than it saves.
    "compile_expressions": 0,
    "compile_aggregate_expressions": 0,
    "compile_sort_description": 0,
    # As the sink stores properties: {"a.b": 1} and {"a": {"b": 1}} remain different.
    "json_type_escape_dots_in_keys": 1,
    "type_json_skip_duplicated_paths": 1,
}


def statement_settings(database: str, project_id: str) -> dict[str, int | str]:
    """Return the settings of ClickHouse that a statement of a project runs with."""
    return {**_LIMITS, "additional_table_filters": project_filter(database, project_id)}
