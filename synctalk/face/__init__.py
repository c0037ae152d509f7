"""Faces: tracking, blendshapes, parsing masks, plates, and the 3D face model."""
