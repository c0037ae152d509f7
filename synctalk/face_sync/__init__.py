"""Face-Sync Controller: what speech does to lips and face (S, section III-B; METHOD rows 1 and 3).

encoder       speech → one feature row per video frame (frozen, shipped weights)
lip_features  tracked meshes → a subject's standardised lip, eye, brow and pose coefficients
lip_head      feature rows → the subject's lip coefficients
attention     which of the two halves of a face each coefficient may move
pretrain      how the encoder's weights were made
"""
