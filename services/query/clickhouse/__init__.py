"""Questions to ClickHouse: the client, and the SQL that all operators share."""
