"""The commands of `gatepost`, by what they are about; thin: parse, call, print."""
