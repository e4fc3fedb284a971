"""Records read and produced in bulk, and transactions: all calls of librdkafka."""
