"""The canonical head and what deforms it (S §III-D; METHOD rows 8–9).

scene       packed splats and their activation
initialise  where the first splats stand
densify     adaptive density control
basis       linear deformation basis (what avatars ship)
triplane    the paper's triplane and MLPs (reference and ablation)
lowrank     the trained triplane baked into a few directions
restore     a deformation back from its tensors
window      the rendered rectangle that follows the head
"""
