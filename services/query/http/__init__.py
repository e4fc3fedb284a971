"""HTTP and gRPC: what the endpoints of all operators share."""
