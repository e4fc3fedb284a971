"""The definitions of each operator, as typed values that both sides share."""
