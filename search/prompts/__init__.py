"""Prompt formats: how a history and candidates become text, and how an answer is read."""

from search.prompts.formats import FORMATS, Prompt, format_hash, get_format

__all__ = ["FORMATS", "Prompt", "format_hash", "get_format"]
