"""Other methods on the same datasets and driving features, to stand beside ours in evaluations."""
