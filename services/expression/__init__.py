"""Speech to driving features, frame by frame, for files and live sessions."""
