"""Driving features to video segments."""
