"""What ports get wrong in single operators: each entry computes what the mistake gives, to be compared with the port.

A mistake is tried in every layer of its operator that lies between the last layer that agrees and the first that does not.
"""

from epcore.port.mistakes.by_operator import mistakes
from epcore.port.mistakes.mistake import Mistake

__all__ = ["Mistake", "mistakes"]
