"""Ki-67 index of invasive breast carcinoma from two serial whole-slide images.

One way through the house: the H&E slide gives the invasive region (:mod:`ki67.idc`), registration carries it
to the Ki-67 slide (:mod:`ki67.registration`), cells are found and classified there (:mod:`ki67.cells`), the
index is computed (:mod:`ki67.scoring`) and reported (:mod:`ki67.report`).

Every position inside the program is in micrometres in the slide's own frame: origin at the top left corner of
level 0, x to the right, y down, float64.
"""

from importlib.metadata import version

__version__ = version("ki67")
