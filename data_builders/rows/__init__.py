"""From codes and values to rows: pools, masks, sampling, variations, mixing and writing."""
