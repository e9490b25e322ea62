"""Fields that no rule covers, each added to a manifest that is good without it."""

from __future__ import annotations

from tests.deploy.manifest_mutations import DEPLOYMENT, SETTINGS, STATEFUL_SET

SERVICE = "k8s/base/registry/service.yaml"
LINK = "k8s/overlays/production/market/link.yaml"
POD = "      enableServiceLinks: false\n"
POD_CONTEXT = "        runAsNonRoot: true\n"
CONTAINER = "          args: [serve, --config, /etc/guqiao/settings.toml]\n"
CONTAINER_CONTEXT = "            readOnlyRootFilesystem: true\n"
VOLUMES = "      volumes:\n"


def _added(name: str, file: str, after: str, added: str, path: str) -> tuple[str, ...]:
    """A field added after a text; the report names the field's path."""
    return (name, file, after, after + added, "unknown-field", f"no rule covers {path}:")


# The same six parts as in `manifest_mutations`, the last one what the report's line holds besides.
CLOSED_WORLD_MUTATIONS = [
    _added(
        "shared processes",
        DEPLOYMENT,
        POD,
        "      shareProcessNamespace: true\n",
        "spec.template.spec.shareProcessNamespace",
    ),
    _added(
        "another host name",
        DEPLOYMENT,
        POD,
        "      hostname: consensus-0\n",
        "spec.template.spec.hostname",
    ),
    _added(
        "a subdomain",
        STATEFUL_SET,
        POD,
        "      subdomain: registry\n",
        "spec.template.spec.subdomain",
    ),
    _added(
        "own name servers",
        DEPLOYMENT,
        POD,
        "      dnsConfig: {nameservers: [203.0.113.53]}\n",
        "spec.template.spec.dnsConfig",
    ),
    _added(
        "the machine's users",
        STATEFUL_SET,
        POD,
        "      hostUsers: true\n",
        "spec.template.spec.hostUsers",
    ),
    _added(
        "a chosen machine",
        DEPLOYMENT,
        POD,
        "      nodeName: control-plane\n",
        "spec.template.spec.nodeName",
    ),
    _added(
        "kernel settings",
        DEPLOYMENT,
        POD_CONTEXT,
        "        sysctls: [{name: net.a, value: b}]\n",
        "spec.template.spec.securityContext.sysctls",
    ),
    _added(
        "more groups",
        STATEFUL_SET,
        POD_CONTEXT,
        "        supplementalGroups: [0]\n",
        "spec.template.spec.securityContext.supplementalGroups",
    ),
    _added(
        "the pod's SELinux type",
        DEPLOYMENT,
        POD_CONTEXT,
        "        seLinuxOptions: {type: spc_t}\n",
        "spec.template.spec.securityContext.seLinuxOptions",
    ),
    _added(
        "AppArmor off",
        DEPLOYMENT,
        POD_CONTEXT,
        "        appArmorProfile: {type: Unconfined}\n",
        "spec.template.spec.securityContext.appArmorProfile",
    ),
    _added(
        "all of /proc",
        DEPLOYMENT,
        CONTAINER_CONTEXT,
        "            procMount: Unmasked\n",
        "spec.template.spec.initContainers.securityContext.procMount",
    ),
    _added(
        "a container's SELinux type",
        STATEFUL_SET,
        CONTAINER_CONTEXT,
        "            seLinuxOptions: {type: spc_t}\n",
        "spec.template.spec.initContainers.securityContext.seLinuxOptions",
    ),
    _added(
        "a hook after the start",
        DEPLOYMENT,
        CONTAINER,
        "          lifecycle: {postStart: {exec: {command: [sh, -c, id]}}}\n",
        "spec.template.spec.containers.lifecycle",
    ),
    _added(
        "a raw device",
        STATEFUL_SET,
        CONTAINER,
        "          volumeDevices: [{name: data, devicePath: /dev/xvda}]\n",
        "spec.template.spec.containers.volumeDevices",
    ),
    _added(
        "variables from a Secret",
        DEPLOYMENT,
        CONTAINER,
        "          envFrom: [{secretRef: {name: registry-database}}]\n",
        "spec.template.spec.containers.envFrom",
    ),
    _added(
        "an open input",
        DEPLOYMENT,
        CONTAINER,
        "          stdin: true\n",
        "spec.template.spec.containers.stdin",
    ),
    _added(
        "a token in a volume",
        DEPLOYMENT,
        VOLUMES,
        "        - name: token\n"
        "          projected: {sources: [{serviceAccountToken: {path: token}}]}\n",
        "spec.template.spec.volumes.projected.sources.serviceAccountToken",
    ),
    _added(
        "optional trust",
        DEPLOYMENT,
        "configMap: {name: trust",
        ", optional: true",
        "spec.template.spec.volumes.configMap.optional",
    ),
    _added(
        "a mount that propagates",
        DEPLOYMENT,
        "mountPath: /tmp",
        ", mountPropagation: HostToContainer",
        "spec.template.spec.containers.volumeMounts.mountPropagation",
    ),
    _added(
        "an older volume",
        STATEFUL_SET,
        "[ReadWriteOncePod]\n",
        "        volumeName: older\n",
        "spec.volumeClaimTemplates.spec.volumeName",
    ),
    _added(
        "three replaced at once",
        STATEFUL_SET,
        "{type: RollingUpdate",
        ", rollingUpdate: {maxUnavailable: 3}",
        "spec.updateStrategy.rollingUpdate",
    ),
    _added(
        "an annotation",
        SERVICE,
        "  name: registry\n",
        "  annotations: {example.invalid/balancer: public}\n",
        "metadata.annotations",
    ),
    _added(
        "an annotation of the pods",
        DEPLOYMENT,
        "    metadata:\n",
        "      annotations: {example.invalid/inject: sidecar}\n",
        "spec.template.metadata.annotations",
    ),
    _added(
        "a Service outside",
        SERVICE,
        "spec:\n",
        "  externalIPs: [203.0.113.7]\n",
        "spec.externalIPs",
    ),
    _added(
        "a Service by local nodes",
        SERVICE,
        "spec:\n",
        "  internalTrafficPolicy: Local\n",
        "spec.internalTrafficPolicy",
    ),
    _added(
        "a node port in a port",
        SERVICE,
        "targetPort: gm-tunnel",
        ", nodePort: 30443",
        "spec.ports.nodePort",
    ),
    _added(
        "an account with Secrets",
        "k8s/base/registry/serviceaccount.yaml",
        "automountServiceAccountToken: false\n",
        "secrets: [{name: registry-keys}]\n",
        "secrets",
    ),
    _added(
        "a budget without the broken",
        "k8s/base/registry/pdb.yaml",
        "maxUnavailable: 1\n",
        "  unhealthyPodEvictionPolicy: AlwaysAllow\n",
        "spec.unhealthyPodEvictionPolicy",
    ),
    _added("a third settings file", SETTINGS, "\ndata:\n", "  more.toml: more\n", "data.more.toml"),
    _added(
        "a label of a zone",
        "k8s/zones/market/namespaces.yaml",
        "  labels:\n",
        "    pod-security.kubernetes.io/audit: privileged\n",
        "metadata.labels.pod-security.kubernetes.io/audit",
    ),
    _added(
        "an address left out",
        LINK,
        "cidr: 198.51.100.10/32",
        ", except: [198.51.100.10/32]",
        "spec.egress.to.ipBlock.except",
    ),
    _added(
        "an endpoint on a machine",
        LINK,
        "addresses: [198.51.100.10]\n",
        "    nodeName: machine\n",
        "endpoints.nodeName",
    ),
]
