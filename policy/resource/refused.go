package resource

import "github.com/taskwall/taskwall/policy/strict"

const statusRefused = "the API server that this came from wrote it; remove it"

// refused are fields of Calico's schema that mean nothing here, by Go type.
// They get a clear message instead of "unknown field".
var refused = strict.Refusals{
	"Metadata": {
		"resourceVersion":   "the API server that this came from wrote it; remove it",
		"uid":               "the API server that this came from wrote it; remove it",
		"creationTimestamp": "the API server that this came from wrote it; remove it",
		"generation":        "the API server that this came from wrote it; remove it",
		"managedFields":     "the API server that this came from wrote it; remove it",
		"selfLink":          "the API server that this came from wrote it; remove it",
		"ownerReferences":   "there are no owners here; remove it",
		"finalizers":        "there are no finalizers here; remove it",
	},
	"BGP":    {"status": statusRefused},
	"Guard":  {"status": statusRefused},
	"Pool":   {"status": statusRefused},
	"Set":    {"status": statusRefused},
	"Tier":   {"status": statusRefused},
	"Policy": {"status": statusRefused},
	"PolicySpec": {
		"serviceAccountSelector": "Mesos tasks have no service accounts; select by labels such as taskwall/app or taskwall/role",
		"applyOnForward":         "it is for host endpoints, which there are none of; remove it",
		"preDNAT":                "it is for host endpoints, which there are none of; remove it",
		"doNotTrack":             "it is for host endpoints, which there are none of; remove it",
		"performanceHints":       "they tune Calico's own agent; remove it",
	},
	"Rule": {
		"http": "requests are not looked into, only packets; allow by protocol and port, or let a proxy decide",
	},
	"Entity": {
		"serviceAccounts": "Mesos tasks have no service accounts; select by labels such as taskwall/app or taskwall/role",
		"services":        "there are no Kubernetes services; select the endpoints by label",
		"domains":         "names are not resolved; write nets, or a GlobalNetworkSet and its selector",
	},
	"SetSpec": {
		"allowedEgressDomains": "names are not resolved; write nets",
	},
	"PoolSpec": {
		"namespaceSelector": "write the annotation " + PoolSelector + " with a selector instead",
		"ipip":              "there is no overlay; remove it",
		"nat-outgoing":      "addresses are not translated; remove it",
	},
}
