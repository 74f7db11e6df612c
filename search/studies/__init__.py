"""Studies that survive: trials, their storage, claims, evaluation and the run folder."""
