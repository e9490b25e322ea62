"""Certified blocks on a domain's bus: fed in by one elected publisher, followed by projections.

Both ends verify every block against the finality certificate with the replica set that they were
given, so neither the bus nor a replica is trusted. A projection's rows and its position are one
PostgreSQL transaction.
"""

from services.chassis.block_feed.follower import FeedState, follow_blocks, projected_height
from services.chassis.block_feed.publisher import publish_blocks

__all__ = ["FeedState", "follow_blocks", "projected_height", "publish_blocks"]
