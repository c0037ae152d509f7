"""Index groups of the 478-point face mesh.

The numbering is that of MediaPipe's face mesh (Apache-2.0). "Right" and "left" are the subject's;
the subject's right is at the image's left.
"""

from __future__ import annotations

N_FACE = 468
N_MESH = 478

# Contours run from the outer corner, lower lid first, then the upper lid from the outer side.
RIGHT_EYE_LOWER = (33, 7, 163, 144, 145, 153, 154, 155, 133)
RIGHT_EYE_UPPER = (246, 161, 160, 159, 158, 157, 173)
LEFT_EYE_LOWER = (263, 249, 390, 373, 374, 380, 381, 382, 362)
LEFT_EYE_UPPER = (466, 388, 387, 386, 385, 384, 398)
RIGHT_EYE = (*RIGHT_EYE_LOWER, *RIGHT_EYE_UPPER)
LEFT_EYE = (*LEFT_EYE_LOWER, *LEFT_EYE_UPPER)
RIGHT_IRIS = (468, 469, 470, 471, 472)  # centre, then right, top, left, bottom of the ring
LEFT_IRIS = (473, 474, 475, 476, 477)

# The attention network's 71 eye points: the contour, then rings of growing size and the brow.
RIGHT_EYE_REGION = (
    *RIGHT_EYE,
    *(130, 25, 110, 24, 23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190),
    *(226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189),
    *(35, 124, 46, 53, 52, 65),
    *(143, 111, 117, 118, 119, 120, 121, 128, 245),
    *(156, 70, 63, 105, 66, 107, 55, 193),
)
LEFT_EYE_REGION = (
    *LEFT_EYE,
    *(359, 255, 339, 254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414),
    *(446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444, 443, 442, 441, 413),
    *(265, 353, 276, 283, 282, 295),
    *(372, 340, 346, 347, 348, 349, 350, 357, 465),
    *(383, 300, 293, 334, 296, 336, 285, 417),
)

RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)  # upper rim outwards in, lower rim back
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)

LIPS_OUTER = (
    *(61, 185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(291, 375, 321, 405, 314, 17, 84, 181, 91, 146),
)
LIPS_INNER = (
    *(78, 191, 80, 81, 82, 13, 312, 311, 310, 415),
    *(308, 324, 318, 402, 317, 14, 87, 178, 88, 95),
)
# The attention network's 80 lip points: outer and inner rims, then the two rings between.
LIPS_REGION = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
    *(76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408),
    *(62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407),
)
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
NOSE_TIP = 4
OUTER_EYE_CORNERS = (33, 263)
CHIN = 152

# Points that move with the skull: forehead, temples, nose bridge and inner eye corners.
RIGID = (
    *(10, 151, 9, 8, 168, 6, 197, 195, 5),
    *(338, 297, 109, 67, 337, 299, 108, 69),
    *(133, 362, 243, 463, 244, 464, 245, 465, 188, 412, 174, 399, 217, 437),
    *(127, 356, 234, 454, 162, 389, 33, 263),
)
