"""What all operators share: the contract, partitions, backfill, the changelog, rows and time."""
