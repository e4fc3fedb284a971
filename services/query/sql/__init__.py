"""The endpoint of SQL: `POST /api/projects/{project}/sql`."""
