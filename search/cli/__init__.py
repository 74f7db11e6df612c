"""What the command line of `search.run` is made of: options, plan, assembly, workers and console."""
