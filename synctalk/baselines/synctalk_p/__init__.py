"""SyncTalk (P), the predecessor: a tri-plane hash radiance field (METHOD row 14).

Peng et al., "SyncTalk: The Devil is in the Synchronization for Talking Head Synthesis", section
3.4, from the paper alone. A small reference renderer for comparisons, not a product: it renders
at a small size and is scaled up to the dataset's. docs/synctalk-p.md says what follows the paper
and what does not.

encoding   three 2D multiresolution hash encoders (eq. 10, 11)
field      position, direction, lips and expression to colour and density (eq. 12)
occupancy  which cells of the head's box rays sample
volume     rays, and the volume rendering integral (eq. 9)
data       the footage at a small size, and random rays of it
portrait   Portrait-Sync Generator: neck colour and the blurred face
renderer   the trained head at run time, and its files
training   coarse stage on rays, fine stage on patches (eq. 13)
"""

from synctalk.baselines.synctalk_p.renderer import SyncTalkP
from synctalk.baselines.synctalk_p.training import FieldConfig, Progressed, train_synctalk_p

__all__ = ["FieldConfig", "Progressed", "SyncTalkP", "train_synctalk_p"]
