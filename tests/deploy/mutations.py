"""Every way in which the tests spoil the manifests, one at least for each rule."""

from __future__ import annotations

from tests.deploy.closed_world_mutations import CLOSED_WORLD_MUTATIONS
from tests.deploy.flow_mutations import FLOW_MUTATIONS
from tests.deploy.manifest_mutations import MUTATIONS
from tests.deploy.pod_mutations import POD_MUTATIONS

ALL_MUTATIONS = [*MUTATIONS, *CLOSED_WORLD_MUTATIONS, *POD_MUTATIONS, *FLOW_MUTATIONS]
