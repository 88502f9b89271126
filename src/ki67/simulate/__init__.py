"""Serial-section pairs with a known answer for every cell, pixel and landmark."""

from ki67.simulate.deformation import SectionMap
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import simulate_pair
from ki67.simulate.truth import SimulationTruth

__all__ = ["SectionMap", "SimulationOptions", "SimulationTruth", "simulate_pair"]
