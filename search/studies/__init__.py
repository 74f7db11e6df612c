"""Studies that survive: trials, their storage, claims, evaluation and the run folder."""

STUDY = "search"  # what the one study of a journal is called, whatever its folder is called
