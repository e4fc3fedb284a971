"""The MCP server: tools by which agents read what there is, over stdio or HTTP.

It is a thin client of the REST API, in a process of its own: a tool may do what the query token of
its caller may. It writes nothing.
"""
