"""Tests of `services`, in the same tree."""
