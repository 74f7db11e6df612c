"""The synthetic prior: random spaces with random responses, and rows made from them."""
