"""Sums in fixed point as a GPU makes them, on the CPU."""

PLACES = 7


HEADROOM = 2.0 ** (61 - 20)  # for up to 2^20 addends
