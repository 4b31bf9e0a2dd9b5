"""What every input makes of every state of a replica: the expectation, judged by hand against the rules in `_replica.py`.

Each block is a state, and its first line the state itself. The columns: the input; the status afterwards; what is shown (with
its value where that does not follow from the version); the counters that moved; whether a need is open afterwards. The replica
stands at version 2.5 (sequence 5 of the second life of its authority), or is empty and joins there; a skewed one refused 2.6.
"""

from __future__ import annotations

from typing import Final

from tests.protocol.state_table import Cell


def parsed(text: str) -> dict[str, dict[str, Cell]]:
    """Each state with its inputs and their cells."""
    states: dict[str, dict[str, Cell]] = {}
    for block in text.strip().split("\n\n"):
        title, *lines = block.splitlines()
        rows = [[part.strip() for part in line.split(" | ")] for line in lines]
        states[title.strip("[]")] = {given: Cell(*cell) for given, *cell in rows}
    return states


CELLS: Final = parsed("""
[Closed]
                                               | CLOSED     | 2.5         | nothing          | none
live: the next version                         | CLOSED     | 2.5         | nothing          | none
live: the next but two, two were lost          | CLOSED     | 2.5         | nothing          | none
live: the next but two, two were never sent    | CLOSED     | 2.5         | nothing          | none
live: an older version                         | CLOSED     | 2.5         | nothing          | none
live: the held version again                   | CLOSED     | 2.5         | nothing          | none
live: the held version with other content      | CLOSED     | 2.5         | nothing          | none
live: of a later life                          | CLOSED     | 2.5         | nothing          | none
live: of an earlier life                       | CLOSED     | 2.5         | nothing          | none
live: the next, its value does not pass        | CLOSED     | 2.5         | nothing          | none
live: the next, of another major               | CLOSED     | 2.5         | nothing          | none
answer: the same                               | CLOSED     | 2.5         | nothing          | none
answer: the held version                       | CLOSED     | 2.5         | nothing          | none
answer: the held version with other content    | CLOSED     | 2.5         | nothing          | none
answer: a newer version                        | CLOSED     | 2.5         | nothing          | none
answer: a version written anew by a later life | CLOSED     | 2.5         | nothing          | none
answer: an older version, of the same life     | CLOSED     | 2.5         | nothing          | none
answer: an older version, by a later life      | CLOSED     | 2.5         | nothing          | none
answer: it was deleted                         | CLOSED     | 2.5         | nothing          | none
answer: it never existed                       | CLOSED     | 2.5         | nothing          | none
answer: 2.6, its value does not pass           | CLOSED     | 2.5         | nothing          | none
answer: 2.6, of another major                  | CLOSED     | 2.5         | nothing          | none
answer: no room for this object                | CLOSED     | 2.5         | nothing          | none
answer: by an earlier life                     | CLOSED     | 2.5         | nothing          | none
beat: it names nothing                         | CLOSED     | 2.5         | nothing          | none
beat: it names the newest version              | CLOSED     | 2.5         | nothing          | none
beat: it names a newer version                 | CLOSED     | 2.5         | nothing          | none
beat: the same, and there is time left         | CLOSED     | 2.5         | nothing          | none
beat: it names other content                   | CLOSED     | 2.5         | nothing          | none
beat: more was sent than it can name           | CLOSED     | 2.5         | nothing          | none
beat: too many were lost before it             | CLOSED     | 2.5         | nothing          | none
beat: it was heard before                      | CLOSED     | 2.5         | nothing          | none
beat: it was made long ago                     | CLOSED     | 2.5         | nothing          | none
beat: of a later life                          | CLOSED     | 2.5         | nothing          | none
beat: of an earlier life                       | CLOSED     | 2.5         | nothing          | none
the ask fails                                  | CLOSED     | 2.5         | nothing          | none
envelopes may have been lost                   | CLOSED     | 2.5         | nothing          | open
`stale_after_s` passes                         | CLOSED     | 2.5         | nothing          | none
`close()`                                      | CLOSED     | 2.5         | nothing          | none

[Empty, and asking]
                                               | REFETCHING | nothing     | nothing          | open
live: the next version                         | STALE      | 2.6         | applied          | open
live: the next but two, two were lost          | STALE      | 2.8         | applied          | open
live: the next but two, two were never sent    | STALE      | 2.8         | applied          | open
live: an older version                         | STALE      | 2.4         | applied          | open
live: the held version again                   | STALE      | 2.5         | applied          | open
live: the held version with other content      | STALE      | 2.5=other   | applied          | open
live: of a later life                          | STALE      | 3.1         | applied          | open
live: of an earlier life                       | REFETCHING | nothing     | ignored_stale    | open
live: the next, its value does not pass        | REFETCHING | nothing     | parse_errors     | open
live: the next, of another major               | REFETCHING | nothing     | schema_skews     | open
answer: the same                               | STALE      | nothing     | refetch_failures | open
answer: the held version                       | OK         | 2.5         | applied          | none
answer: the held version with other content    | OK         | 2.5=other   | applied          | none
answer: a newer version                        | OK         | 2.8         | applied          | none
answer: a version written anew by a later life | OK         | 3.6         | applied          | none
answer: an older version, of the same life     | OK         | 2.4         | applied          | none
answer: an older version, by a later life      | OK         | 2.4         | applied          | none
answer: it was deleted                         | OK         | 2.9 deleted | applied          | none
answer: it never existed                       | OK         | 0.0 deleted | applied          | none
answer: 2.6, its value does not pass           | STALE      | nothing     | parse_errors     | none
answer: 2.6, of another major                  | STALE      | nothing     | schema_skews     | none
answer: no room for this object                | REFETCHING | nothing     | nothing          | open
answer: by an earlier life                     | REFETCHING | nothing     | nothing          | open
beat: it names nothing                         | REFETCHING | nothing     | nothing          | open
beat: it names the newest version              | REFETCHING | nothing     | nothing          | open
beat: it names a newer version                 | REFETCHING | nothing     | nothing          | open
beat: the same, and there is time left         | REFETCHING | nothing     | nothing          | open
beat: it names other content                   | REFETCHING | nothing     | nothing          | open
beat: more was sent than it can name           | REFETCHING | nothing     | nothing          | open
beat: too many were lost before it             | REFETCHING | nothing     | nothing          | open
beat: it was heard before                      | REFETCHING | nothing     | nothing          | open
beat: it was made long ago                     | REFETCHING | nothing     | nothing          | open
beat: of a later life                          | REFETCHING | nothing     | nothing          | open
beat: of an earlier life                       | REFETCHING | nothing     | nothing          | open
the ask fails                                  | STALE      | nothing     | refetch_failures | open
envelopes may have been lost                   | REFETCHING | nothing     | nothing          | open
`stale_after_s` passes                         | REFETCHING | nothing     | nothing          | open
`close()`                                      | CLOSED     | nothing     | nothing          | open

[Empty, and the ask failed]
                                               | STALE      | nothing     | nothing          | open
live: the next version                         | STALE      | 2.6         | applied          | open
live: the next but two, two were lost          | STALE      | 2.8         | applied          | open
live: the next but two, two were never sent    | STALE      | 2.8         | applied          | open
live: an older version                         | STALE      | 2.4         | applied          | open
live: the held version again                   | STALE      | 2.5         | applied          | open
live: the held version with other content      | STALE      | 2.5=other   | applied          | open
live: of a later life                          | STALE      | 3.1         | applied          | open
live: of an earlier life                       | STALE      | nothing     | ignored_stale    | open
live: the next, its value does not pass        | STALE      | nothing     | parse_errors     | open
live: the next, of another major               | STALE      | nothing     | schema_skews     | open
answer: the same                               | STALE      | nothing     | refetch_failures | open
answer: the held version                       | OK         | 2.5         | applied          | none
answer: the held version with other content    | OK         | 2.5=other   | applied          | none
answer: a newer version                        | OK         | 2.8         | applied          | none
answer: a version written anew by a later life | OK         | 3.6         | applied          | none
answer: an older version, of the same life     | OK         | 2.4         | applied          | none
answer: an older version, by a later life      | OK         | 2.4         | applied          | none
answer: it was deleted                         | OK         | 2.9 deleted | applied          | none
answer: it never existed                       | OK         | 0.0 deleted | applied          | none
answer: 2.6, its value does not pass           | STALE      | nothing     | parse_errors     | none
answer: 2.6, of another major                  | STALE      | nothing     | schema_skews     | none
answer: no room for this object                | STALE      | nothing     | nothing          | open
answer: by an earlier life                     | STALE      | nothing     | nothing          | open
beat: it names nothing                         | STALE      | nothing     | nothing          | open
beat: it names the newest version              | STALE      | nothing     | nothing          | open
beat: it names a newer version                 | STALE      | nothing     | nothing          | open
beat: the same, and there is time left         | STALE      | nothing     | nothing          | open
beat: it names other content                   | STALE      | nothing     | nothing          | open
beat: more was sent than it can name           | STALE      | nothing     | nothing          | open
beat: too many were lost before it             | STALE      | nothing     | nothing          | open
beat: it was heard before                      | STALE      | nothing     | nothing          | open
beat: it was made long ago                     | STALE      | nothing     | nothing          | open
beat: of a later life                          | STALE      | nothing     | nothing          | open
beat: of an earlier life                       | STALE      | nothing     | nothing          | open
the ask fails                                  | STALE      | nothing     | refetch_failures | open
envelopes may have been lost                   | STALE      | nothing     | nothing          | open
`stale_after_s` passes                         | STALE      | nothing     | nothing          | open
`close()`                                      | CLOSED     | nothing     | nothing          | open

[Current]
                                               | OK         | 2.5         | nothing          | none
live: the next version                         | OK         | 2.6         | applied          | none
live: the next but two, two were lost          | REFETCHING | 2.8         | applied gaps     | open
live: the next but two, two were never sent    | OK         | 2.8         | applied          | none
live: an older version                         | OK         | 2.5         | ignored_stale    | none
live: the held version again                   | OK         | 2.5         | ignored_stale    | none
live: the held version with other content      | REFETCHING | 2.5         | conflicts        | open
live: of a later life                          | REFETCHING | 3.1         | applied resets   | open
live: of an earlier life                       | OK         | 2.5         | ignored_stale    | none
live: the next, its value does not pass        | SKEW       | 2.5         | parse_errors     | open
live: the next, of another major               | SKEW       | 2.5         | schema_skews     | open
answer: the same                               | OK         | 2.5         | nothing          | none
answer: the held version                       | OK         | 2.5         | nothing          | none
answer: the held version with other content    | REFETCHING | 2.5         | conflicts        | open
answer: a newer version                        | OK         | 2.8         | applied          | none
answer: a version written anew by a later life | OK         | 3.6         | applied resets   | none
answer: an older version, of the same life     | OK         | 2.5         | nothing          | none
answer: an older version, by a later life      | REFETCHING | 2.5         | nothing          | open
answer: it was deleted                         | OK         | 2.9 deleted | applied          | none
answer: it never existed                       | OK         | 2.5         | nothing          | none
answer: 2.6, its value does not pass           | SKEW       | 2.5         | parse_errors     | none
answer: 2.6, of another major                  | SKEW       | 2.5         | schema_skews     | none
answer: no room for this object                | OK         | 2.5         | nothing          | none
answer: by an earlier life                     | OK         | 2.5         | nothing          | none
beat: it names nothing                         | OK         | 2.5         | nothing          | none
beat: it names the newest version              | OK         | 2.5         | nothing          | none
beat: it names a newer version                 | REFETCHING | 2.5         | nothing          | open
beat: the same, and there is time left         | OK         | 2.5         | nothing          | none
beat: it names other content                   | REFETCHING | 2.5         | conflicts        | open
beat: more was sent than it can name           | REFETCHING | 2.5         | nothing          | open
beat: too many were lost before it             | REFETCHING | 2.5         | nothing          | open
beat: it was heard before                      | OK         | 2.5         | nothing          | none
beat: it was made long ago                     | OK         | 2.5         | nothing          | none
beat: of a later life                          | REFETCHING | 2.5         | nothing          | open
beat: of an earlier life                       | REFETCHING | 2.5         | nothing          | open
the ask fails                                  | STALE      | 2.5         | refetch_failures | none
envelopes may have been lost                   | REFETCHING | 2.5         | nothing          | open
`stale_after_s` passes                         | STALE      | 2.5         | nothing          | none
`close()`                                      | CLOSED     | 2.5         | nothing          | none

[Current, and a newer version has come live]
                                               | OK         | 2.6         | nothing          | none
live: the next version                         | OK         | 2.7         | applied          | none
live: the next but two, two were lost          | REFETCHING | 2.9         | applied gaps     | open
live: the next but two, two were never sent    | OK         | 2.9         | applied          | none
live: an older version                         | OK         | 2.6         | ignored_stale    | none
live: the held version again                   | OK         | 2.6         | ignored_stale    | none
live: the held version with other content      | OK         | 2.6         | ignored_stale    | none
live: of a later life                          | REFETCHING | 3.1         | applied resets   | open
live: of an earlier life                       | OK         | 2.6         | ignored_stale    | none
live: the next, its value does not pass        | SKEW       | 2.6         | parse_errors     | open
live: the next, of another major               | SKEW       | 2.6         | schema_skews     | open
answer: the same                               | OK         | 2.6         | nothing          | none
answer: the held version                       | OK         | 2.6         | nothing          | none
answer: the held version with other content    | OK         | 2.6         | nothing          | none
answer: a newer version                        | OK         | 2.8         | applied          | none
answer: a version written anew by a later life | OK         | 3.6         | applied resets   | none
answer: an older version, of the same life     | OK         | 2.6         | nothing          | none
answer: an older version, by a later life      | REFETCHING | 2.6         | nothing          | open
answer: it was deleted                         | OK         | 2.9 deleted | applied          | none
answer: it never existed                       | OK         | 2.6         | nothing          | none
answer: 2.6, its value does not pass           | REFETCHING | 2.6         | conflicts        | open
answer: 2.6, of another major                  | REFETCHING | 2.6         | conflicts        | open
answer: no room for this object                | OK         | 2.6         | nothing          | none
answer: by an earlier life                     | OK         | 2.6         | nothing          | none
beat: it names nothing                         | REFETCHING | 2.6         | nothing          | open
beat: it names the newest version              | OK         | 2.6         | nothing          | none
beat: it names a newer version                 | REFETCHING | 2.6         | nothing          | open
beat: the same, and there is time left         | OK         | 2.6         | nothing          | none
beat: it names other content                   | REFETCHING | 2.6         | conflicts        | open
beat: more was sent than it can name           | REFETCHING | 2.6         | nothing          | open
beat: too many were lost before it             | REFETCHING | 2.6         | nothing          | open
beat: it was heard before                      | OK         | 2.6         | nothing          | none
beat: it was made long ago                     | REFETCHING | 2.6         | nothing          | open
beat: of a later life                          | REFETCHING | 2.6         | nothing          | open
beat: of an earlier life                       | REFETCHING | 2.6         | nothing          | open
the ask fails                                  | STALE      | 2.6         | refetch_failures | none
envelopes may have been lost                   | REFETCHING | 2.6         | nothing          | open
`stale_after_s` passes                         | STALE      | 2.6         | nothing          | none
`close()`                                      | CLOSED     | 2.6         | nothing          | none

[Asking, since something may have been lost]
                                               | REFETCHING | 2.5         | nothing          | open
live: the next version                         | REFETCHING | 2.6         | applied          | open
live: the next but two, two were lost          | REFETCHING | 2.8         | applied gaps     | open
live: the next but two, two were never sent    | REFETCHING | 2.8         | applied          | open
live: an older version                         | REFETCHING | 2.5         | ignored_stale    | open
live: the held version again                   | REFETCHING | 2.5         | ignored_stale    | open
live: the held version with other content      | REFETCHING | 2.5         | conflicts        | open
live: of a later life                          | REFETCHING | 3.1         | applied resets   | open
live: of an earlier life                       | REFETCHING | 2.5         | ignored_stale    | open
live: the next, its value does not pass        | SKEW       | 2.5         | parse_errors     | open
live: the next, of another major               | SKEW       | 2.5         | schema_skews     | open
answer: the same                               | OK         | 2.5         | nothing          | none
answer: the held version                       | OK         | 2.5         | nothing          | none
answer: the held version with other content    | REFETCHING | 2.5         | conflicts        | open
answer: a newer version                        | OK         | 2.8         | applied          | none
answer: a version written anew by a later life | OK         | 3.6         | applied resets   | none
answer: an older version, of the same life     | OK         | 2.5         | nothing          | none
answer: an older version, by a later life      | REFETCHING | 2.5         | nothing          | open
answer: it was deleted                         | OK         | 2.9 deleted | applied          | none
answer: it never existed                       | OK         | 2.5         | nothing          | none
answer: 2.6, its value does not pass           | SKEW       | 2.5         | parse_errors     | none
answer: 2.6, of another major                  | SKEW       | 2.5         | schema_skews     | none
answer: no room for this object                | REFETCHING | 2.5         | nothing          | open
answer: by an earlier life                     | REFETCHING | 2.5         | nothing          | open
beat: it names nothing                         | REFETCHING | 2.5         | nothing          | open
beat: it names the newest version              | REFETCHING | 2.5         | nothing          | open
beat: it names a newer version                 | REFETCHING | 2.5         | nothing          | open
beat: the same, and there is time left         | REFETCHING | 2.5         | nothing          | open
beat: it names other content                   | REFETCHING | 2.5         | conflicts        | open
beat: more was sent than it can name           | REFETCHING | 2.5         | nothing          | open
beat: too many were lost before it             | REFETCHING | 2.5         | nothing          | open
beat: it was heard before                      | REFETCHING | 2.5         | nothing          | open
beat: it was made long ago                     | REFETCHING | 2.5         | nothing          | open
beat: of a later life                          | REFETCHING | 2.5         | nothing          | open
beat: of an earlier life                       | REFETCHING | 2.5         | nothing          | open
the ask fails                                  | STALE      | 2.5         | refetch_failures | open
envelopes may have been lost                   | REFETCHING | 2.5         | nothing          | open
`stale_after_s` passes                         | STALE      | 2.5         | nothing          | open
`close()`                                      | CLOSED     | 2.5         | nothing          | open

[Stale: an unproven seed]
                                               | STALE      | 2.5         | nothing          | open
live: the next version                         | STALE      | 2.6         | applied          | open
live: the next but two, two were lost          | STALE      | 2.8         | applied gaps     | open
live: the next but two, two were never sent    | STALE      | 2.8         | applied          | open
live: an older version                         | STALE      | 2.5         | ignored_stale    | open
live: the held version again                   | STALE      | 2.5         | ignored_stale    | open
live: the held version with other content      | STALE      | 2.5         | conflicts        | open
live: of a later life                          | STALE      | 3.1         | applied resets   | open
live: of an earlier life                       | STALE      | 2.5         | ignored_stale    | open
live: the next, its value does not pass        | SKEW       | 2.5         | parse_errors     | open
live: the next, of another major               | SKEW       | 2.5         | schema_skews     | open
answer: the same                               | STALE      | 2.5         | refetch_failures | open
answer: the held version                       | OK         | 2.5         | nothing          | none
answer: the held version with other content    | OK         | 2.5=other   | applied          | none
answer: a newer version                        | OK         | 2.8         | applied          | none
answer: a version written anew by a later life | OK         | 3.6         | applied resets   | none
answer: an older version, of the same life     | OK         | 2.4         | applied          | none
answer: an older version, by a later life      | OK         | 2.4         | applied          | none
answer: it was deleted                         | OK         | 2.9 deleted | applied          | none
answer: it never existed                       | OK         | 0.0 deleted | applied          | none
answer: 2.6, its value does not pass           | SKEW       | 2.5         | parse_errors     | none
answer: 2.6, of another major                  | SKEW       | 2.5         | schema_skews     | none
answer: no room for this object                | STALE      | 2.5         | nothing          | open
answer: by an earlier life                     | STALE      | 2.5         | nothing          | open
beat: it names nothing                         | STALE      | 2.5         | nothing          | open
beat: it names the newest version              | STALE      | 2.5         | nothing          | open
beat: it names a newer version                 | STALE      | 2.5         | nothing          | open
beat: the same, and there is time left         | STALE      | 2.5         | nothing          | open
beat: it names other content                   | STALE      | 2.5         | nothing          | open
beat: more was sent than it can name           | STALE      | 2.5         | nothing          | open
beat: too many were lost before it             | STALE      | 2.5         | nothing          | open
beat: it was heard before                      | STALE      | 2.5         | nothing          | open
beat: it was made long ago                     | STALE      | 2.5         | nothing          | open
beat: of a later life                          | STALE      | 2.5         | nothing          | open
beat: of an earlier life                       | STALE      | 2.5         | nothing          | open
the ask fails                                  | STALE      | 2.5         | refetch_failures | open
envelopes may have been lost                   | STALE      | 2.5         | nothing          | open
`stale_after_s` passes                         | STALE      | 2.5         | nothing          | open
`close()`                                      | CLOSED     | 2.5         | nothing          | open

[Stale: the last ask failed]
                                               | STALE      | 2.5         | nothing          | open
live: the next version                         | STALE      | 2.6         | applied          | open
live: the next but two, two were lost          | STALE      | 2.8         | applied gaps     | open
live: the next but two, two were never sent    | STALE      | 2.8         | applied          | open
live: an older version                         | STALE      | 2.5         | ignored_stale    | open
live: the held version again                   | STALE      | 2.5         | ignored_stale    | open
live: the held version with other content      | STALE      | 2.5         | conflicts        | open
live: of a later life                          | STALE      | 3.1         | applied resets   | open
live: of an earlier life                       | STALE      | 2.5         | ignored_stale    | open
live: the next, its value does not pass        | SKEW       | 2.5         | parse_errors     | open
live: the next, of another major               | SKEW       | 2.5         | schema_skews     | open
answer: the same                               | OK         | 2.5         | nothing          | none
answer: the held version                       | OK         | 2.5         | nothing          | none
answer: the held version with other content    | REFETCHING | 2.5         | conflicts        | open
answer: a newer version                        | OK         | 2.8         | applied          | none
answer: a version written anew by a later life | OK         | 3.6         | applied resets   | none
answer: an older version, of the same life     | OK         | 2.5         | nothing          | none
answer: an older version, by a later life      | REFETCHING | 2.5         | nothing          | open
answer: it was deleted                         | OK         | 2.9 deleted | applied          | none
answer: it never existed                       | OK         | 2.5         | nothing          | none
answer: 2.6, its value does not pass           | SKEW       | 2.5         | parse_errors     | none
answer: 2.6, of another major                  | SKEW       | 2.5         | schema_skews     | none
answer: no room for this object                | STALE      | 2.5         | nothing          | open
answer: by an earlier life                     | STALE      | 2.5         | nothing          | open
beat: it names nothing                         | STALE      | 2.5         | nothing          | open
beat: it names the newest version              | STALE      | 2.5         | nothing          | open
beat: it names a newer version                 | STALE      | 2.5         | nothing          | open
beat: the same, and there is time left         | STALE      | 2.5         | nothing          | open
beat: it names other content                   | STALE      | 2.5         | conflicts        | open
beat: more was sent than it can name           | STALE      | 2.5         | nothing          | open
beat: too many were lost before it             | STALE      | 2.5         | nothing          | open
beat: it was heard before                      | STALE      | 2.5         | nothing          | open
beat: it was made long ago                     | STALE      | 2.5         | nothing          | open
beat: of a later life                          | STALE      | 2.5         | nothing          | open
beat: of an earlier life                       | STALE      | 2.5         | nothing          | open
the ask fails                                  | STALE      | 2.5         | refetch_failures | open
envelopes may have been lost                   | STALE      | 2.5         | nothing          | open
`stale_after_s` passes                         | STALE      | 2.5         | nothing          | open
`close()`                                      | CLOSED     | 2.5         | nothing          | open

[Stale: there is nobody to ask]
                                               | STALE      | 2.5         | nothing          | open
live: the next version                         | STALE      | 2.6         | applied          | none
live: the next but two, two were lost          | STALE      | 2.8         | applied gaps     | open
live: the next but two, two were never sent    | STALE      | 2.8         | applied          | none
live: an older version                         | STALE      | 2.5         | ignored_stale    | open
live: the held version again                   | STALE      | 2.5         | ignored_stale    | open
live: the held version with other content      | STALE      | 2.5         | conflicts        | open
live: of a later life                          | STALE      | 3.1         | applied resets   | open
live: of an earlier life                       | STALE      | 2.5         | ignored_stale    | open
live: the next, its value does not pass        | SKEW       | 2.5         | parse_errors     | open
live: the next, of another major               | SKEW       | 2.5         | schema_skews     | open
envelopes may have been lost                   | STALE      | 2.5         | nothing          | open
`stale_after_s` passes                         | STALE      | 2.5         | nothing          | open
`close()`                                      | CLOSED     | 2.5         | nothing          | open

[Stale: the proof is old]
                                               | STALE      | 2.5         | nothing          | none
live: the next version                         | STALE      | 2.6         | applied          | none
live: the next but two, two were lost          | STALE      | 2.8         | applied gaps     | open
live: the next but two, two were never sent    | STALE      | 2.8         | applied          | none
live: an older version                         | STALE      | 2.5         | ignored_stale    | none
live: the held version again                   | STALE      | 2.5         | ignored_stale    | none
live: the held version with other content      | STALE      | 2.5         | conflicts        | open
live: of a later life                          | STALE      | 3.1         | applied resets   | open
live: of an earlier life                       | STALE      | 2.5         | ignored_stale    | none
live: the next, its value does not pass        | SKEW       | 2.5         | parse_errors     | open
live: the next, of another major               | SKEW       | 2.5         | schema_skews     | open
answer: the same                               | OK         | 2.5         | nothing          | none
answer: the held version                       | OK         | 2.5         | nothing          | none
answer: the held version with other content    | STALE      | 2.5         | conflicts        | open
answer: a newer version                        | OK         | 2.8         | applied          | none
answer: a version written anew by a later life | OK         | 3.6         | applied resets   | none
answer: an older version, of the same life     | OK         | 2.5         | nothing          | none
answer: an older version, by a later life      | STALE      | 2.5         | nothing          | open
answer: it was deleted                         | OK         | 2.9 deleted | applied          | none
answer: it never existed                       | OK         | 2.5         | nothing          | none
answer: 2.6, its value does not pass           | SKEW       | 2.5         | parse_errors     | none
answer: 2.6, of another major                  | SKEW       | 2.5         | schema_skews     | none
answer: no room for this object                | STALE      | 2.5         | nothing          | none
answer: by an earlier life                     | STALE      | 2.5         | nothing          | none
beat: it names nothing                         | OK         | 2.5         | nothing          | none
beat: it names the newest version              | OK         | 2.5         | nothing          | none
beat: it names a newer version                 | STALE      | 2.5         | nothing          | open
beat: the same, and there is time left         | STALE      | 2.5         | nothing          | none
beat: it names other content                   | STALE      | 2.5         | conflicts        | open
beat: more was sent than it can name           | STALE      | 2.5         | nothing          | open
beat: too many were lost before it             | STALE      | 2.5         | nothing          | open
beat: it was heard before                      | STALE      | 2.5         | nothing          | none
beat: it was made long ago                     | STALE      | 2.5         | nothing          | open
beat: of a later life                          | STALE      | 2.5         | nothing          | open
beat: of an earlier life                       | STALE      | 2.5         | nothing          | open
the ask fails                                  | STALE      | 2.5         | refetch_failures | none
envelopes may have been lost                   | STALE      | 2.5         | nothing          | open
`stale_after_s` passes                         | STALE      | 2.5         | nothing          | none
`close()`                                      | CLOSED     | 2.5         | nothing          | none

[Skewed by another schema major]
                                               | SKEW       | 2.5         | nothing          | open
live: the next version                         | REFETCHING | 2.7         | applied          | open
live: the next but two, two were lost          | REFETCHING | 2.9         | applied gaps     | open
live: the next but two, two were never sent    | REFETCHING | 2.9         | applied          | open
live: an older version                         | SKEW       | 2.5         | ignored_stale    | open
live: the held version again                   | SKEW       | 2.5         | ignored_stale    | open
live: the held version with other content      | SKEW       | 2.5         | conflicts        | open
live: of a later life                          | REFETCHING | 3.1         | applied resets   | open
live: of an earlier life                       | SKEW       | 2.5         | ignored_stale    | open
live: the next, its value does not pass        | SKEW       | 2.5         | parse_errors     | open
live: the next, of another major               | SKEW       | 2.5         | schema_skews     | open
answer: the same                               | REFETCHING | 2.5         | nothing          | open
answer: the held version                       | REFETCHING | 2.5         | nothing          | open
answer: the held version with other content    | REFETCHING | 2.5         | conflicts        | open
answer: a newer version                        | OK         | 2.8         | applied          | none
answer: a version written anew by a later life | OK         | 3.6         | applied resets   | none
answer: an older version, of the same life     | REFETCHING | 2.5         | nothing          | open
answer: an older version, by a later life      | REFETCHING | 2.5         | nothing          | open
answer: it was deleted                         | OK         | 2.9 deleted | applied          | none
answer: it never existed                       | REFETCHING | 2.5         | nothing          | open
answer: 2.6, its value does not pass           | SKEW       | 2.5         | parse_errors     | none
answer: 2.6, of another major                  | SKEW       | 2.5         | schema_skews     | none
answer: no room for this object                | SKEW       | 2.5         | nothing          | open
answer: by an earlier life                     | SKEW       | 2.5         | nothing          | open
beat: it names nothing                         | SKEW       | 2.5         | nothing          | open
beat: it names the newest version              | SKEW       | 2.5         | nothing          | open
beat: it names a newer version                 | SKEW       | 2.5         | nothing          | open
beat: the same, and there is time left         | SKEW       | 2.5         | nothing          | open
beat: it names other content                   | SKEW       | 2.5         | conflicts        | open
beat: more was sent than it can name           | SKEW       | 2.5         | nothing          | open
beat: too many were lost before it             | SKEW       | 2.5         | nothing          | open
beat: it was heard before                      | SKEW       | 2.5         | nothing          | open
beat: it was made long ago                     | SKEW       | 2.5         | nothing          | open
beat: of a later life                          | SKEW       | 2.5         | nothing          | open
beat: of an earlier life                       | SKEW       | 2.5         | nothing          | open
the ask fails                                  | SKEW       | 2.5         | refetch_failures | open
envelopes may have been lost                   | SKEW       | 2.5         | nothing          | open
`stale_after_s` passes                         | SKEW       | 2.5         | nothing          | open
`close()`                                      | CLOSED     | 2.5         | nothing          | open

[Skewed by a value that does not pass the gate]
                                               | SKEW       | 2.5         | nothing          | open
live: the next version                         | REFETCHING | 2.7         | applied          | open
live: the next but two, two were lost          | REFETCHING | 2.9         | applied gaps     | open
live: the next but two, two were never sent    | REFETCHING | 2.9         | applied          | open
live: an older version                         | SKEW       | 2.5         | ignored_stale    | open
live: the held version again                   | SKEW       | 2.5         | ignored_stale    | open
live: the held version with other content      | SKEW       | 2.5         | conflicts        | open
live: of a later life                          | REFETCHING | 3.1         | applied resets   | open
live: of an earlier life                       | SKEW       | 2.5         | ignored_stale    | open
live: the next, its value does not pass        | SKEW       | 2.5         | parse_errors     | open
live: the next, of another major               | SKEW       | 2.5         | schema_skews     | open
answer: the same                               | REFETCHING | 2.5         | nothing          | open
answer: the held version                       | REFETCHING | 2.5         | nothing          | open
answer: the held version with other content    | REFETCHING | 2.5         | conflicts        | open
answer: a newer version                        | OK         | 2.8         | applied          | none
answer: a version written anew by a later life | OK         | 3.6         | applied resets   | none
answer: an older version, of the same life     | REFETCHING | 2.5         | nothing          | open
answer: an older version, by a later life      | REFETCHING | 2.5         | nothing          | open
answer: it was deleted                         | OK         | 2.9 deleted | applied          | none
answer: it never existed                       | REFETCHING | 2.5         | nothing          | open
answer: 2.6, its value does not pass           | SKEW       | 2.5         | parse_errors     | none
answer: 2.6, of another major                  | SKEW       | 2.5         | schema_skews     | none
answer: no room for this object                | SKEW       | 2.5         | nothing          | open
answer: by an earlier life                     | SKEW       | 2.5         | nothing          | open
beat: it names nothing                         | SKEW       | 2.5         | nothing          | open
beat: it names the newest version              | SKEW       | 2.5         | nothing          | open
beat: it names a newer version                 | SKEW       | 2.5         | nothing          | open
beat: the same, and there is time left         | SKEW       | 2.5         | nothing          | open
beat: it names other content                   | SKEW       | 2.5         | conflicts        | open
beat: more was sent than it can name           | SKEW       | 2.5         | nothing          | open
beat: too many were lost before it             | SKEW       | 2.5         | nothing          | open
beat: it was heard before                      | SKEW       | 2.5         | nothing          | open
beat: it was made long ago                     | SKEW       | 2.5         | nothing          | open
beat: of a later life                          | SKEW       | 2.5         | nothing          | open
beat: of an earlier life                       | SKEW       | 2.5         | nothing          | open
the ask fails                                  | SKEW       | 2.5         | refetch_failures | open
envelopes may have been lost                   | SKEW       | 2.5         | nothing          | open
`stale_after_s` passes                         | SKEW       | 2.5         | nothing          | open
`close()`                                      | CLOSED     | 2.5         | nothing          | open

[In process: current]
                                               | OK         | 2.5         | nothing          | none
live: the next version                         | OK         | 2.6         | applied          | none
live: the next but two, two were lost          | REFETCHING | 2.8         | applied gaps     | open
live: the next but two, two were never sent    | OK         | 2.8         | applied          | none
live: an older version                         | OK         | 2.5         | ignored_stale    | none
live: the held version again                   | OK         | 2.5         | ignored_stale    | none
live: the held version with other content      | REFETCHING | 2.5         | conflicts        | open
live: of a later life                          | REFETCHING | 3.1         | applied resets   | open
live: of an earlier life                       | OK         | 2.5         | ignored_stale    | none
live: the next, its value does not pass        | SKEW       | 2.5         | parse_errors     | open
live: the next, of another major               | SKEW       | 2.5         | schema_skews     | open
answer: the same                               | OK         | 2.5         | nothing          | none
answer: the held version                       | OK         | 2.5         | nothing          | none
answer: the held version with other content    | REFETCHING | 2.5         | conflicts        | open
answer: a newer version                        | OK         | 2.8         | applied          | none
answer: a version written anew by a later life | OK         | 3.6         | applied resets   | none
answer: an older version, of the same life     | OK         | 2.5         | nothing          | none
answer: an older version, by a later life      | REFETCHING | 2.5         | nothing          | open
answer: it was deleted                         | OK         | 2.9 deleted | applied          | none
answer: it never existed                       | OK         | 2.5         | nothing          | none
answer: 2.6, its value does not pass           | SKEW       | 2.5         | parse_errors     | none
answer: 2.6, of another major                  | SKEW       | 2.5         | schema_skews     | none
answer: no room for this object                | OK         | 2.5         | nothing          | none
answer: by an earlier life                     | OK         | 2.5         | nothing          | none
beat: it names nothing                         | OK         | 2.5         | nothing          | none
beat: it names the newest version              | OK         | 2.5         | nothing          | none
beat: it names a newer version                 | OK         | 2.5         | nothing          | none
beat: the same, and there is time left         | OK         | 2.5         | nothing          | none
beat: it names other content                   | OK         | 2.5         | nothing          | none
beat: more was sent than it can name           | OK         | 2.5         | nothing          | none
beat: too many were lost before it             | OK         | 2.5         | nothing          | none
beat: it was heard before                      | OK         | 2.5         | nothing          | none
beat: it was made long ago                     | OK         | 2.5         | nothing          | none
beat: of a later life                          | OK         | 2.5         | nothing          | none
beat: of an earlier life                       | OK         | 2.5         | nothing          | none
the ask fails                                  | STALE      | 2.5         | refetch_failures | none
envelopes may have been lost                   | REFETCHING | 2.5         | nothing          | open
`stale_after_s` passes                         | OK         | 2.5         | nothing          | none
`close()`                                      | CLOSED     | 2.5         | nothing          | none

[In process: the last ask failed]
                                               | STALE      | 2.5         | nothing          | open
live: the next version                         | OK         | 2.6         | applied          | none
live: the next but two, two were lost          | STALE      | 2.8         | applied gaps     | open
live: the next but two, two were never sent    | OK         | 2.8         | applied          | none
live: an older version                         | STALE      | 2.5         | ignored_stale    | open
live: the held version again                   | STALE      | 2.5         | ignored_stale    | open
live: the held version with other content      | STALE      | 2.5         | conflicts        | open
live: of a later life                          | STALE      | 3.1         | applied resets   | open
live: of an earlier life                       | STALE      | 2.5         | ignored_stale    | open
live: the next, its value does not pass        | SKEW       | 2.5         | parse_errors     | open
live: the next, of another major               | SKEW       | 2.5         | schema_skews     | open
answer: the same                               | OK         | 2.5         | nothing          | none
answer: the held version                       | OK         | 2.5         | nothing          | none
answer: the held version with other content    | REFETCHING | 2.5         | conflicts        | open
answer: a newer version                        | OK         | 2.8         | applied          | none
answer: a version written anew by a later life | OK         | 3.6         | applied resets   | none
answer: an older version, of the same life     | OK         | 2.5         | nothing          | none
answer: an older version, by a later life      | REFETCHING | 2.5         | nothing          | open
answer: it was deleted                         | OK         | 2.9 deleted | applied          | none
answer: it never existed                       | OK         | 2.5         | nothing          | none
answer: 2.6, its value does not pass           | SKEW       | 2.5         | parse_errors     | none
answer: 2.6, of another major                  | SKEW       | 2.5         | schema_skews     | none
answer: no room for this object                | STALE      | 2.5         | nothing          | open
answer: by an earlier life                     | STALE      | 2.5         | nothing          | open
beat: it names nothing                         | STALE      | 2.5         | nothing          | open
beat: it names the newest version              | STALE      | 2.5         | nothing          | open
beat: it names a newer version                 | STALE      | 2.5         | nothing          | open
beat: the same, and there is time left         | STALE      | 2.5         | nothing          | open
beat: it names other content                   | STALE      | 2.5         | nothing          | open
beat: more was sent than it can name           | STALE      | 2.5         | nothing          | open
beat: too many were lost before it             | STALE      | 2.5         | nothing          | open
beat: it was heard before                      | STALE      | 2.5         | nothing          | open
beat: it was made long ago                     | STALE      | 2.5         | nothing          | open
beat: of a later life                          | STALE      | 2.5         | nothing          | open
beat: of an earlier life                       | STALE      | 2.5         | nothing          | open
the ask fails                                  | STALE      | 2.5         | refetch_failures | open
envelopes may have been lost                   | STALE      | 2.5         | nothing          | open
`stale_after_s` passes                         | STALE      | 2.5         | nothing          | open
`close()`                                      | CLOSED     | 2.5         | nothing          | open

[In process: there is nobody to ask]
                                               | STALE      | 2.5         | nothing          | open
live: the next version                         | OK         | 2.6         | applied          | none
live: the next but two, two were lost          | STALE      | 2.8         | applied gaps     | open
live: the next but two, two were never sent    | OK         | 2.8         | applied          | none
live: an older version                         | STALE      | 2.5         | ignored_stale    | open
live: the held version again                   | STALE      | 2.5         | ignored_stale    | open
live: the held version with other content      | STALE      | 2.5         | conflicts        | open
live: of a later life                          | STALE      | 3.1         | applied resets   | open
live: of an earlier life                       | STALE      | 2.5         | ignored_stale    | open
live: the next, its value does not pass        | SKEW       | 2.5         | parse_errors     | open
live: the next, of another major               | SKEW       | 2.5         | schema_skews     | open
envelopes may have been lost                   | STALE      | 2.5         | nothing          | open
`stale_after_s` passes                         | STALE      | 2.5         | nothing          | open
`close()`                                      | CLOSED     | 2.5         | nothing          | open
""")
