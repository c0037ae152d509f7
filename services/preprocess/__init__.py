"""PreprocessService: an uploaded video to a dataset."""
