"""What a dissection takes where it is not told."""

IOU_THRESHOLD = 0.04
"""A unit whose best IoU exceeds this is a detector (Bau et al. 2017, section 2.2)."""

BATCH_SIZE = 32
"""Images a forward pass."""

TOP_IMAGES = 10
"""Images to find for each unit, those that excite it most."""
