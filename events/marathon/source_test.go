package marathon

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events"
)

const webV1 = `{"id":"/shop/web","version":"2026-01-01T00:00:00.000Z","instances":2,
	"labels":{"tier":"front"},"networks":[{"mode":"container","name":"taskwall"}],
	"env":{"PASSWORD":{"secret":"s"},"PLAIN":"hunter2"},
	"container":{"type":"MESOS","portMappings":[{"containerPort":8080,"hostPort":0,"name":"http","protocol":"udp,tcp"}]}}`

func group(apps string) string {
	return `{"id":"/","apps":[],"pods":[],"groups":[{"id":"/shop","apps":[` + apps + `],"pods":[],"groups":[]}]}`
}

func TestTheSnapshotBecomesEvents(t *testing.T) {
	f := newFake()
	f.set("/v2/groups", group(webV1))
	l := newLog()
	start(t, Config{Members: []string{serve(t, f).URL}}, l, nil)
	l.until(t, "the app is known", func(c *events.Cluster) bool { return c.Apps["/shop/web"].ID != "" })
	want := events.NewCluster()
	want.Marathon = &events.Marathon{Framework: "fw-1", Name: "shop", Version: "1.11.0", Leader: "m1:8080"}
	want.Apps["/shop/web"] = events.App{
		ID: "/shop/web", Version: "2026-01-01T00:00:00.000Z", Instances: 2,
		Labels: map[string]string{"tier": "front"}, Networks: []string{"taskwall"},
		Ports: []events.Port{{Name: "http", Number: 8080, Protocol: "tcp"}, {Name: "http", Number: 8080, Protocol: "udp"}},
	}
	if d := cmp.Diff(want, l.folded()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
