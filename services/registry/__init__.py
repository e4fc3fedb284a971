"""The schema registry over HTTP: the part of Confluent Schema Registry's API that clients use.

    request ─▶ one look at, or one change of, all that is committed on `_schemas` ─▶ answer

Nothing is kept here: what the topic says is `schemas.registry.subjects`', and that two services at
once give no id twice is `schemas.registry.log`'s. Avro alone is taken, in the default context.
"""
