"""Serial-section pairs with a known answer for every cell, pixel and landmark.

:func:`ki67.simulate.pair.simulate_pair` draws one; nothing is imported here, so that the command line has the options
without all that draws.
"""
