"""What is learned: each objective is a few pure functions over params and a batch, and gives plain sums."""
