"""What results must be, worked out the slow way from definitions as users write them.

An oracle reads a definition as parsed JSON and whole lists of events, and shares no code with the
product: a test of this folder holds its imports to the standard library.
"""
