"""`python -m relay` is `gatepost`."""

from relay.cli import main

main()
