"""The command line: parse, look up, run, publish."""
