"""python -m lmsearcher COMMAND ..."""

from lmsearcher import main

main()
