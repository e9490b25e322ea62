"""Replicas that lie: strategies B1-B28, combinable, switchable by round."""

from tests.simulation.byzantine import elsewhere, mutations, surroundings, views, votes
from tests.simulation.byzantine.liar import IDLE, OUTGOING, PROPOSALS

__all__ = [
    "IDLE",
    "OUTGOING",
    "PROPOSALS",
    "elsewhere",
    "mutations",
    "surroundings",
    "views",
    "votes",
]
