package main

// goal is what a figure is compared with.
type goal struct {
	target  float64 // in the metric's unit; 0: none
	atLeast bool    // more is better
	peer    string  // the best known figure of a peer
}

// goals by benchmark and unit.
var goals = map[string]goal{
	"Launch kernel-p50-ms": {peer: "Felix: 32-60 ms from a label to enforced, without its data store"},
	"Launch attach-p50-ms": {target: 25},
	"Plugin ms":            {target: 25},

	"Initial/10kx1k ns/op":                 {target: 0.15e9, peer: "Felix 3.34 s"},
	"Initial/10kx10k ns/op":                {target: 0.5e9, peer: "Felix 84 s"},
	"Initial/100kx1k ns/op":                {target: 1e9, peer: "Felix 31 s"},
	"Initial/100kx10k ns/op":               {target: 2e9, peer: "Antrea 4.4 s, 2.5 GB"},
	"Initial/100kx10k-compound ns/op":      {target: 2e9, peer: "Antrea 4.4 s, 2.5 GB"},
	"TaskAdded/100kx10k p99-ns":            {target: 50e3, peer: "Felix 1.1 ms for one host's share"},
	"TaskAdded/100kx1k p99-ns":             {target: 50e3},
	"PolicyEdited/100kx10k/rule ns/op":     {target: 100e3, peer: "Felix 20-60 us for one host's share"},
	"PolicyEdited/100kx10k/selector ns/op": {target: 100e3, peer: "Felix 20-60 us for one host's share"},
	"Heap/100kx10k heap-MB":                {target: 200, peer: "Antrea 2,500 MB"},
	"Parse ns/op":                          {target: 3960, peer: "Calico 3.96 us"},

	"EndpointAdded/backend=nft/policies=100 ms":        {target: 2, peer: "Felix 73 ms"},
	"EndpointAdded/backend=nft/policies=100 x-raw":     {target: 3},
	"EndpointAdded/backend=nft/policies=1000 ms":       {target: 2, peer: "Felix 242 ms; kube-router 3,700 ms"},
	"EndpointAdded/backend=nft/policies=1000 x-raw":    {target: 3},
	"EndpointAdded/backend=nft/policies=5000 ms":       {target: 2},
	"EndpointAdded/backend=nft/policies=5000 x-raw":    {target: 3},
	"EndpointAdded/backend=legacy/policies=100 ms":     {target: 2, peer: "Felix 42 ms"},
	"EndpointAdded/backend=legacy/policies=100 x-raw":  {target: 3},
	"EndpointAdded/backend=legacy/policies=1000 ms":    {target: 2, peer: "Felix 185 ms; kube-router 3,700 ms"},
	"EndpointAdded/backend=legacy/policies=1000 x-raw": {target: 3},
	"EndpointAdded/backend=legacy/policies=5000 ms":    {target: 2, peer: "Felix 873 ms"},
	"EndpointAdded/backend=legacy/policies=5000 x-raw": {target: 3},
	"EndpointRemoved/flows=others ms":                  {target: 20, peer: "Felix 310-390 ms"},
	"EndpointRemoved/flows=own ms":                     {target: 20, peer: "Felix 310-390 ms"},
	"MemberAdded/members=10 ms":                        {target: 0.2, peer: "Felix 2.7-6 ms"},
	"MemberAdded/members=100000 ms":                    {target: 0.2, peer: "Felix 2.7-6 ms"},
	"NewPosture/backend=nft/policies=1000 x-raw":       {target: 1.3},
	"NewPosture/backend=legacy/policies=1000 x-raw":    {target: 1.3},
	"ColdStart/backend=nft/policies=1000 x-raw":        {target: 1.2},
	"ColdStart/backend=legacy/policies=1000 x-raw":     {target: 1.2},
	"Install ms":        {target: 2000}, // 10,000 prefixes
	"Memory heap-MB":    {target: 50},   // 10,000 prefixes, 50 peers
	"SessionToRoute ms": {target: 2000}, // the engine dials after 1.5-2 s, its peer after 1 s

	"Flow/backend=nft rtt-x-10":     {target: 1.05},
	"Flow/backend=nft open-x-10":    {target: 1.05},
	"Flow/backend=nft bulk-x-10":    {target: 1.05},
	"Flow/backend=legacy rtt-x-10":  {target: 1.05},
	"Flow/backend=legacy open-x-10": {target: 1.05},
	"Flow/backend=legacy bulk-x-10": {target: 1.05},

	"Check/backend=nft held-ms":    {target: 10}, // changes wait so long for a check
	"Check/backend=legacy held-ms": {target: 10},

	"Burst worst-ms": {target: 20, peer: "Felix 665 ms"},

	"Fanout/hosts=1000 us-p99":         {target: 2000},
	"Fanout/hosts=10000 us-p99":        {target: 2000, peer: "a JetStream consumer per host: 1,357 ms"},
	"Fanout/hosts=1000 server-B/host":  {target: 2048},
	"Fanout/hosts=10000 server-B/host": {target: 2048, peer: "a JetStream consumer per host: 32 KB"},
	"Storm zero-ms":                    {target: 5000},
	"Storm late-ms":                    {target: 1000},
	"Past/StateAt worst-s":             {target: 2},
	"Audit/at s":                       {target: 2},
	"Audit/reach s":                    {target: 2},
	"Audit/explain s":                  {target: 2},
	"Audit/verify peak-MB":             {target: 512},
	"Past/Verify events/s/core":        {target: 200e3, atLeast: true},
}
