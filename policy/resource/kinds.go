package resource

import (
	"fmt"
	"strings"

	"github.com/taskwall/taskwall/policy/strict"
)

const (
	fromMesos  = "hosts and tasks are told by Mesos; remove it"
	ownAgents  = "it is for Calico's own agents; remove it, and give taskwall's their flags"
	fromBlocks = "the controller gives out blocks and addresses by itself; remove it"
)

// refusedKinds are Calico's kinds that mean nothing here, with "why; what to do
// instead".
var refusedKinds = map[string]string{
	"HostEndpoint":                  "tasks have a firewall, hosts have none; remove it",
	"Profile":                       "an endpoint that no policy selects is closed; write a NetworkPolicy",
	"StagedKubernetesNetworkPolicy": "Kubernetes' policies are not read; write a StagedNetworkPolicy",
	"Node":                          fromMesos,
	"WorkloadEndpoint":              fromMesos,
	"FelixConfiguration":            ownAgents,
	"KubeControllersConfiguration":  ownAgents,
	"ClusterInformation":            ownAgents,
	"CalicoNodeStatus":              ownAgents,
	"IPAMConfiguration":             fromBlocks,
	"BlockAffinity":                 fromBlocks,
	"IPReservation":                 "no address of a pool can be set aside; write pools without those addresses",
	"Namespace":                     "an environment is there when an app has its label; remove it",
	"policy":                        "it is from before Calico v3; write it as NetworkPolicy or GlobalNetworkPolicy of " + CalicoVersion,
}

// noKind says what is wrong with a kind that is not read.
func noKind(kind string) (message, instead string) {
	if why, ok := refusedKinds[kind]; ok {
		why, instead, _ = strings.Cut(why, "; ")
		return "this does not apply here: " + why, instead
	}
	return fmt.Sprintf("no kind is called %q", kind), strict.DidYouMean(kind, Kinds)
}

// foreign says what is wrong with a resource whose apiVersion is not ours nor
// Calico's: "" when nothing is. It comes before the fields, nearly all of which
// would be errors in another system's resource. The form in which Calico keeps
// its resources in Kubernetes (crd.projectcalico.org) has the same fields.
func foreign(kind, version string) (message, instead string) {
	group, _, _ := strings.Cut(version, "/")
	switch group {
	case "", "projectcalico.org", "crd.projectcalico.org", "taskwall":
		return "", ""
	case "networking.k8s.io", "policy.networking.k8s.io", "extensions":
		return "Kubernetes' own policies are not read", "write it as " + CalicoVersion + ": selector for podSelector, types for policyTypes, source and destination for from, to and ports"
	}
	switch {
	case blank(kind) != nil:
	case version == "v1": // also of Calico's before v3, whose kinds began with a small letter
		return "", ""
	default:
		return fmt.Sprintf("%s of %s is not read", kind, version), "remove it"
	}
	return fmt.Sprintf("%s has no version %q", kind, version), "write " + ownVersion(kind)
}

func ownVersion(kind string) string {
	if kind == KindLabelGuard {
		return guardVersion
	}
	return CalicoVersion
}
