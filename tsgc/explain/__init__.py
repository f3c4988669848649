"""Reasons for an answer: the joints and frames that a class depends on, and where the test clips lie."""
