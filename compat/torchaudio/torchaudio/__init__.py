"""Import-only stand-in for torchaudio on CPU-only machines (see ../pyproject.toml)."""

__version__ = "2.11.0+absent"


def __getattr__(name):
    raise AttributeError(
        f"torchaudio.{name}: this environment has a stand-in, not torchaudio; install the real one to use audio"
    )
