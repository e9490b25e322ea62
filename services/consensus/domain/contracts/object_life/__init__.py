"""Version 2 of `objects`: sources that are marked, bodies that are judged, a log of exceptions."""
