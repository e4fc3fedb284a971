"""The rivals of benchmarks, each written as its users would write it."""
