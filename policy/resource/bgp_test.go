package resource_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/policy/resource"
)

const everyBGPField = `
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata:
  name: default
  annotations:
    taskwall/hosts: has(rack)
    taskwall/route-reflectors: role == 'reflector'
    taskwall/route-reflector-cluster-id: 10.0.0.1
    taskwall/hold-time: 9s
    taskwall/keepalive: 3s
spec:
  asNumber: 4200000000
  nodeToNodeMeshEnabled: true
  listenPort: 1179
  logSeverityScreen: Info
  bindMode: NodeIP
  nodeMeshPassword: {secretKeyRef: {name: bgp, key: mesh}}
  nodeMeshMaxRestartTime: 2m
  communities: [{name: edge, value: "64512:100"}]
  prefixAdvertisements: [{cidr: 10.8.0.0/16, communities: [edge, "64512:1:4294967295"]}]
---
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: node.h1.example.com}
spec: {asNumber: "1.10"}
---
apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata: {name: only-blocks}
spec:
  importV4:
    - {action: Accept, cidr: 10.8.0.0/16, matchOperator: In, prefixLength: {min: 26, max: 32}, source: RemotePeers}
    - {action: Reject}
  exportV4:
    - {action: Reject, cidr: 10.9.0.0/16, matchOperator: In, prefixLength: {max: 32}}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata:
  name: tor
  annotations:
    taskwall/hold-time: 9s
    taskwall/multihop: "2"
    taskwall/maximum-prefixes: "500"
    taskwall/local-preference: "200"
spec:
  nodeSelector: rack == 'r1'
  peerIP: 192.0.2.1:1179
  asNumber: 64513
  keepOriginalNextHop: true
  password: {secretKeyRef: {name: bgp, key: tor.key}}
  sourceAddress: None
  maxRestartTime: 90s
  numAllowedLocalASNumbers: 1
  filters: [only-blocks]
`

// What is written of BGP reaches the log, and comes back from it as it was.
func TestBGPThroughTheLog(t *testing.T) {
	resources, err := resource.Read("bgp.yaml", []byte(everyBGPField))
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]resource.Typed{}
	for _, r := range resources {
		typed, err := resource.Parse(r)
		if err != nil {
			t.Fatal(err)
		}
		byName[r.Name] = typed
	}
	yes := true
	conf := byName["default"].(*resource.BGPConfiguration)
	if diff := cmp.Diff(resource.BGPConfigurationSpec{
		ASNumber: 4200000000, NodeToNodeMeshEnabled: &yes, ListenPort: 1179, LogSeverityScreen: "Info", BindMode: "NodeIP",
		NodeMeshPassword:       &resource.BGPPassword{SecretKeyRef: &resource.SecretKeyRef{Name: "bgp", Key: "mesh"}},
		NodeMeshMaxRestartTime: resource.Duration(2 * time.Minute),
		Communities:            []resource.Community{{Name: "edge", Value: "64512:100"}},
		PrefixAdvertisements:   []resource.PrefixAdvertisement{{CIDR: "10.8.0.0/16", Communities: []string{"edge", "64512:1:4294967295"}}},
	}, conf.Spec); diff != "" {
		t.Error(diff)
	}
	if conf.Host() != "" || conf.Metadata.Time(resource.HoldTime) != 9*time.Second || conf.Spec.NodeMeshPassword.File() != "bgp.mesh" {
		t.Errorf("%+v", conf)
	}
	node := byName["node.h1.example.com"].(*resource.BGPConfiguration)
	if node.Host() != "h1.example.com" || node.Spec.ASNumber != 1<<16+10 {
		t.Errorf("%+v", node)
	}
	peer := byName["tor"].(*resource.BGPPeer)
	if peer.Peer().String() != "192.0.2.1:1179" || !peer.Spec.KeepOriginalNextHop || peer.Spec.Password.File() != "bgp.tor.key" {
		t.Errorf("%+v", peer)
	}
	rules := byName["only-blocks"].(*resource.BGPFilter).Spec
	if low, high := rules.ImportV4[0].Lengths(); low != 26 || high != 32 {
		t.Errorf("import lengths %d to %d", low, high)
	}
	if low, high := rules.ExportV4[0].Lengths(); low != 16 || high != 32 {
		t.Errorf("export lengths %d to %d", low, high)
	}
}
