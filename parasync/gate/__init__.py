"""The strict parse gate: what a value has to pass before it is shown, stored or sent.

A gate takes a true instance of its type, checked down to its last field and returned as the same object, or plain data.
Nothing is coerced: no `"5"` for 5, no 5.9 for 5, no `"abc"` for a list, no True for 1. The one widening is an int (up to
`FLOAT_INT_MAX`) where a float is declared. Fields that are not known are ignored, since a newer minor may have added them;
fields that the constructor of a class does not take belong to the class, and are neither checked nor carried.

The plain form of a value is what its type says: texts for dates, decimals and UUIDs, arrays for sets and tuples, maps for
classes, the value of an enum; so bodies can be read in any language. Where a type leaves it open (`Any`, or a union whose
members would look alike) the codec tags the value. See `docs/reference` for the table.
"""

from __future__ import annotations

from parasync.gate._check import FLOAT_INT_MAX
from parasync.gate._crowd import SHARED_HASH_MAX
from parasync.gate._explain import PROBLEMS_MAX
from parasync.gate._forms import DECIMAL_CHARS_MAX, ZONE_CHARS_MAX
from parasync.gate._gate import Gate
from parasync.gate._parsed import GATES_MAX, encode_any, gate_for
from parasync.gate._plain import VALUE_DEPTH_MAX

__all__ = [
    "DECIMAL_CHARS_MAX",
    "FLOAT_INT_MAX",
    "GATES_MAX",
    "PROBLEMS_MAX",
    "SHARED_HASH_MAX",
    "VALUE_DEPTH_MAX",
    "ZONE_CHARS_MAX",
    "Gate",
    "encode_any",
    "gate_for",
]
