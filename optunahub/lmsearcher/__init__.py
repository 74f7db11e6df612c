"""LM-Searcher's samplers as an OptunaHub package."""

from search.samplers import LMSearcherSampler, LocalSearchSampler, RegularizedEvolutionSampler

__all__ = ["LMSearcherSampler", "LocalSearchSampler", "RegularizedEvolutionSampler"]
