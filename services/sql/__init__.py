"""SQL of users: checked by its tree, and printed from it, over views of one project.

`check` parses a statement, refuses whatever is not on a list of what is allowed, and prints the
rest. What ClickHouse runs is what was printed, never the text that was received. The query service
and the embedded store use it in the same way.
"""

from services.sql.errors import Refused
from services.sql.queries import Catalog, Checked, check

__all__ = ["Catalog", "Checked", "Refused", "check"]
