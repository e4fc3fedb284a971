"""Models that learn one example at a time, and how good they are.

The package knows no Kafka, no Faust and no definitions: rows of features and labels come in as
arrays, and scores, state and figures go out as arrays. Use `create` and `restore` of
`pipelines.models.create`; what they return is described in `pipelines.models.model`.

River is imported inside the functions that need it: its import takes two seconds, for which the
start of a worker need not wait, and linear models never need it.
"""
