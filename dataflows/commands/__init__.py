"""The commands: each is one library function, which the command line only wires."""
