"""The schema registry over HTTP: the part of Confluent Schema Registry's API that clients use.

    request ─▶ one read or one change of everything committed on `_schemas` ─▶ response

The service keeps no state. `schemas.registry.subjects` interprets the topic; `schemas.registry.log`
ensures that two services never assign the same id. Only Avro is accepted, in the default context.
"""
