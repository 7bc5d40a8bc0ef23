package controller

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
)

func gather(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(m)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) != 0 {
		t.Errorf("%v, %v", problems, err)
	}
	all := map[string]*dto.MetricFamily{}
	for _, f := range families {
		all[f.GetName()] = f
	}
	return all
}

// The metrics are named as Prometheus asks for, and what only the leader knows is
// gone when its term is over.
func TestMetricsOfALeaderEndWithItsTerm(t *testing.T) {
	connected := true
	m := newMetrics("v1", func() bool { return connected })
	m.trouble("h1", 2)
	m.drift("h1")
	m.applied(work.Report{Host: "h1", Applied: &work.Applied{Failed: []work.Failure{{Key: "x"}}}})
	m.session("h1", &events.Session{Flaps: 1})
	m.refused("h1", &events.RouteRefusal{Count: 1})
	m.sessionsNow(3, 1)
	m.settled([]step{{entry: events.Entry{Seq: 7, Event: events.Event{Kind: events.TaskPut}}}})
	m.kept(Keeping{Streams: []bus.Usage{{Stream: "EVENTS", Bytes: 9, MaxBytes: 10}}, Warnings: []string{"nearly full"}, Checkpoint: &eventlog.Checkpoint{Seq: 7}})
	leaders := []string{"taskwall_host_trouble", "taskwall_stream_bytes", "taskwall_stream_max_bytes", "taskwall_stream_first_seq"}
	all := gather(t, m)
	for _, name := range leaders {
		if len(all[name].GetMetric()) != 1 {
			t.Errorf("%s is %v", name, all[name])
		}
	}
	if v := all["taskwall_retention_warnings"].GetMetric()[0].GetGauge().GetValue(); v != 1 {
		t.Errorf("%v warnings", v)
	}
	if v := all["taskwall_bus_connected"].GetMetric()[0].GetGauge().GetValue(); v != 1 {
		t.Errorf("connected is %v", v)
	}
	connected = false
	m.ended()
	all = gather(t, m)
	for _, name := range leaders {
		if len(all[name].GetMetric()) != 0 {
			t.Errorf("after the term %s is %v", name, all[name])
		}
	}
	for _, name := range []string{"taskwall_retention_warnings", "taskwall_checkpoint_seq", "taskwall_bus_connected"} {
		if v := all[name].GetMetric()[0].GetGauge().GetValue(); v != 0 {
			t.Errorf("after the term %s is %v", name, v)
		}
	}
	if v := all["taskwall_apply_failures_total"].GetMetric()[0].GetCounter().GetValue(); v != 1 { // counters go on
		t.Errorf("%v failures", v)
	}
}
