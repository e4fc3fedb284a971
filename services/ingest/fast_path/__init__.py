"""Plain events of a request, found, checked and encoded together by kernels."""
