"""Where events go from Kafka, exactly once."""
