"""What we are measured against, each written as its own users write it."""
