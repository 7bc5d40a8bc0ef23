package resource

import "github.com/taskwall/taskwall/policy/strict"

const (
	noServices      = "there are no Kubernetes services; remove it"
	noWorkloadPeers = "hosts do not peer with their own tasks; remove it"
	besideSource    = "write it under source or destination"
	bySelector      = "write selector: the labels as key == 'value', joined by &&"
	onlyIPv4        = "endpoints have IPv4 addresses only, IPv6 is closed to them; remove it"
)

// status is what an API server writes beside every kind's spec.
var status = map[string]string{"status": strict.ReadOver}

// refused are fields of Calico's schema that mean nothing here, by Go type.
// They get a clear message instead of "unknown field". What an API server
// writes into what it gives out says nothing, so that exports can be read.
var refused = strict.Refusals{
	"Metadata": {
		"resourceVersion":   strict.ReadOver,
		"uid":               strict.ReadOver,
		"creationTimestamp": strict.ReadOver,
		"generation":        strict.ReadOver,
		"managedFields":     strict.ReadOver,
		"selfLink":          strict.ReadOver,
		"ownerReferences":   "there are no owners here; remove it",
		"finalizers":        "there are no finalizers here; remove it",
	},
	"BGPConfiguration": status,
	"BGPPeer":          status,
	"BGPFilter":        status,
	"Guard":            status,
	"Pool":             status,
	"Set":              status,
	"Tier":             status,
	"Policy":           status,
	"PolicySpec": {
		"serviceAccountSelector": "Mesos tasks have no service accounts; select by labels such as taskwall/app or taskwall/role",
		"applyOnForward":         "it is for host endpoints, which there are none of; remove it",
		"preDNAT":                "it is for host endpoints, which there are none of; remove it",
		"doNotTrack":             "it is for host endpoints, which there are none of; remove it",
		"performanceHints":       "they tune Calico's own agent; remove it",
		"podSelector":            bySelector,
		"policyTypes":            "write types",
	},
	"Rule": {
		"from":        "write source",
		"to":          "write destination",
		"port":        besideSource,
		"ports":       besideSource,
		"notPorts":    besideSource,
		"nets":        besideSource,
		"notNets":     besideSource,
		"selector":    besideSource,
		"notSelector": besideSource,
		"http":        "requests are not looked into, only packets; allow by protocol and port, or let a proxy decide",
	},
	"Entity": {
		"cidr":            "write nets, a list",
		"cidrs":           "write nets",
		"labels":          bySelector,
		"matchLabels":     bySelector,
		"namespace":       "write namespaceSelector: projectcalico.org/name == 'value'",
		"protocol":        "write it in the rule, beside its action",
		"ipBlock":         "write nets, and notNets for its exceptions",
		"podSelector":     bySelector,
		"serviceAccounts": "Mesos tasks have no service accounts; select by labels such as taskwall/app or taskwall/role",
		"services":        "there are no Kubernetes services; select the endpoints by label",
		"domains":         "names are not resolved; write nets, or a GlobalNetworkSet and its selector",
	},
	"SetSpec": {
		"allowedEgressDomains": "names are not resolved; write nets",
	},
	"PoolSpec": {
		"namespaceSelector": "pools are chosen by endpoint; write the annotation " + PoolSelector + " with a selector",
		"ipip":              "there is no overlay; remove it",
		"nat-outgoing":      "addresses are not translated; remove it",
	},
	"BGPConfigurationSpec": {
		"serviceClusterIPs":              noServices,
		"serviceExternalIPs":             noServices,
		"serviceLoadBalancerIPs":         noServices,
		"serviceLoadBalancerAggregation": noServices,
		"serviceAdvertisement":           noServices,
		"ignoredInterfaces":              "a host announces its blocks, never its interfaces' networks; remove it",
		"localWorkloadPeeringIPV4":       noWorkloadPeers,
		"localWorkloadPeeringIPV6":       noWorkloadPeers,
		"programClusterRoutes":           "the host's agent always installs what it learns; remove it",
		"ipv4NormalRoutePriority":        "the kernel metric is fixed; write the annotation " + LocalPreference + " on a BGPPeer",
		"ipv4ElevatedRoutePriority":      "addresses do not move between hosts; remove it",
		"ipv6NormalRoutePriority":        onlyIPv4,
		"ipv6ElevatedRoutePriority":      onlyIPv4,
	},
	"BGPPeerSpec": {
		"reachableBy":           "only learned networks get a route by BGP; write a static route to the peer on the host",
		"localWorkloadSelector": noWorkloadPeers,
		"localASNumber":         "a host has one AS number; write it in BGPConfiguration node.<host>",
		"reversePeering":        "between hosts both ends are always configured; remove it",
		"nextHopMode":           "only keepOriginalNextHop is known; write that, or remove it",
		"failureDetectionMode":  "there is no BFD; write the annotation " + HoldTime,
		"restartMode":           "restarts are always graceful; remove it",
		"birdGatewayMode":       "BIRD is not used; remove it",
		"externalNetwork":       "there is one routing table; remove it",
		"extensions":            "they tune BIRD, which is not used; remove it",
	},
	"BGPFilterSpec": {
		"importV6": onlyIPv4,
		"exportV6": onlyIPv4,
	},
	"BGPFilterRule": {
		"interface":    "routes are chosen by their network, not by the interface that they came in by; write cidr and matchOperator",
		"peerType":     "a filter is for the peers that name it; write two filters",
		"communities":  "routes are not matched by community; write cidr and matchOperator",
		"asPathPrefix": "routes are not matched by their path; write cidr and matchOperator",
		"priority":     "routes are not matched by their priority; write cidr and matchOperator",
		"operations":   "a filter accepts or rejects and changes nothing; write prefixAdvertisements in BGPConfiguration, or the annotation " + LocalPreference + " on a BGPPeer",
	},
	"SecretKeyRef": {
		"optional": "without its password a session must not be opened; remove it",
	},
}
