"""TrainerService: a dataset to a new version of an avatar."""
