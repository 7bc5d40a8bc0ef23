package resource_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/policy/resource"
)

// What "calicoctl get -o yaml" and Calico's manager write is read as it is: what
// the API server wrote, and fields that ask for nothing, are read over.
const exported = `
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicyList
metadata: {resourceVersion: "190"}
items:
- apiVersion: projectcalico.org/v3
  kind: GlobalNetworkPolicy
  metadata:
    creationTimestamp: "2024-05-01T10:00:00Z"
    generation: 3
    labels: {projectcalico.org/tier: default}
    managedFields: [{manager: kubectl, operation: Apply}]
    name: default.quarantine
    resourceVersion: "157"
    selfLink: /apis/x
    uid: 7f1e
  spec:
    tier: default
    order: 490
    selector: quarantine == "true"
    namespaceSelector: ''
    serviceAccountSelector: ''
    performanceHints: []
    doNotTrack: false
    applyOnForward: false
    preDNAT: false
    types: [Ingress]
    ingress:
    - action: Deny
      source: {domains: []}
      destination: {}
`

func TestCalicosExportsAreRead(t *testing.T) {
	const list = `- {apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: a, creationTimestamp: null}, spec: {order: 1}, status: {conditions: [{type: Ready}]}}
- {apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: b}, spec: {order: 2}}
`
	for text, want := range map[string][]string{
		exported: {`{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy","metadata":{"name":"default.quarantine","labels":{"projectcalico.org/tier":"default"}},` +
			`"spec":{"tier":"default","order":490,"selector":"quarantine == \"true\"","types":["Ingress"],"ingress":[{"action":"Deny"}]}}`},
		list: {
			`{"apiVersion":"projectcalico.org/v3","kind":"Tier","metadata":{"name":"a"},"spec":{"order":1}}`,
			`{"apiVersion":"projectcalico.org/v3","kind":"Tier","metadata":{"name":"b"},"spec":{"order":2}}`,
		},
	} {
		read, err := resource.Read("export.yaml", []byte(text))
		if err != nil {
			t.Error(err)
			continue
		}
		var bodies []string
		for _, r := range read {
			bodies = append(bodies, string(r.Body))
		}
		if diff := cmp.Diff(want, bodies); diff != "" {
			t.Error(diff)
		}
	}
}

// The log holds what earlier versions accepted: it is read as it was meant then.
func TestAnOldLogMayHaveGlobalAnywhere(t *testing.T) {
	r, err := resource.Read("p.yaml", []byte("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: a}\nspec: {selector: all()}\n"))
	if err != nil {
		t.Fatal(err)
	}
	r[0].Body = []byte(`{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy","metadata":{"name":"a"},"spec":{"selector":"global()"}}`)
	if _, err := resource.Parse(r[0]); err != nil {
		t.Error(err)
	}
}
