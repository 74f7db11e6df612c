"""What a prompt format is. A new one is a module that defines it and a line in `search.prompts.formats.FORMATS`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from search.spaces import Seen


@dataclass(frozen=True)
class Prompt:
    """The two text fields of an Alpaca row; LLaMA-Factory joins the non-empty ones with a line feed."""

    instruction: str
    input: str

    @property
    def text(self) -> str:
        """The user turn exactly as LLaMA-Factory builds it."""
        return "\n".join(part for part in (self.instruction, self.input) if part)


class Read(Protocol):
    """Reads a prompt back: ((code, printed number) of each history entry, candidates).

    code: pattern of a code's text.
    """

    def __call__(self, prompt: Prompt, code: str = ...) -> tuple[list[tuple[str, float]], list[str]]: ...


class PromptFormat(Protocol):
    """How a ranking question is written and its answer read. Every user of formats relies on these names alone."""

    @property
    def name(self) -> str:
        """The format's name in FORMATS and in a model's stamp."""

    @property
    def family(self) -> tuple[str, ...]:
        """The formats that one model learns together; they share a hash. Usually the name alone."""

    @property
    def names_code(self) -> bool:
        """Whether an answer is a candidate's code; False where it is something else, such as a value."""

    @property
    def sort(self) -> bool:
        """Whether the history is shown best first, so that a history that is too long loses its worst entries."""

    @property
    def read(self) -> Read | None:
        """The inverse of `render`; None where the prompt does not show the history."""

    def render(self, history: Sequence[Seen], candidates: Sequence[str]) -> Prompt:
        """The prompt for a history (told order, higher is better) and candidates: a pure function of both."""

    def answer_text(self, code: str) -> str:
        """How an answer spells a code."""

    def parse(self, answer: str, candidates: Sequence[str]) -> str | None:
        """The candidate that an answer names; None when it names none or several."""
