package main

import (
	"reflect"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/scheduler/controller"
)

// sourceMetrics shows the counters of the current term's sources to Prometheus,
// as taskwall_source_<counter>_total, and whether each is connected. Who does not
// lead has no sources: those of its last term say nothing.
type sourceMetrics struct {
	current atomic.Pointer[[]controller.Source]
	leads   atomic.Pointer[func() bool] // nil: it does
}

// counterHelp says what each counter counts.
var counterHelp = map[string]string{
	"Bytes":     "Bytes that the source read from its streams.",
	"Records":   "Records that the source read from its streams, heartbeats included.",
	"Received":  "Events that the source read from its streams.",
	"Snapshots": "Whole states that the source compared with the log.",
	"Reads":     "REST calls that were answered.",
	"Events":    "Events that the source put into the log.",
	"Connects":  "Streams that the source came to follow.",
	"Failures":  "Attempts to connect, or streams, that failed. Growing while the source is not connected: its peer is away or refuses it.",
	"Resyncs":   "Subscriptions made anew on a timer or on doubt.",
	"Forbidden": "Single groups, apps and pods that this user may not view.",
	"Doubts":    "Records that did not fit what was known, and made the source compare everything anew.",
	"Malformed": "Records that could not, or only in part, be decoded.",
	"Unknown":   "Records of a type that means nothing here.",
	"Stale":     "Records about what had already ended.",
	"Polls":     "Questions between streams that were answered.",
	"PollFails": "Questions between streams that were not answered.",
	"Launched":  "Agents' tasks that were launched.",
	"Ended":     "Agents' tasks that ended, also those that were to be replaced. Growing much faster than replaced: agents do not run.",
	"Replaced":  "Agents' tasks that were ended to run something else.",
	"Retries":   "Attempts to put events into the log that failed. Growing: NATS does not store.",
}

// counted is a source with counters: a struct whose uint64 fields only grow.
type counted interface {
	counters() (source string, connected bool, counters any)
}

// gauged is a source with levels of its own.
type gauged interface{ gauges() []gauge }

type gauge struct {
	name, help string
	value      int
}

// Describe implements prometheus.Collector. The counters are found when they
// are collected, so nothing is described before.
func (m *sourceMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *sourceMetrics) Collect(ch chan<- prometheus.Metric) {
	sources := m.current.Load()
	if leads := m.leads.Load(); sources == nil || leads != nil && !(*leads)() {
		return
	}
	for _, s := range *sources {
		c, ok := s.(counted)
		if !ok {
			continue
		}
		source, connected, counters := c.counters()
		up := 0.0
		if connected {
			up = 1
		}
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("taskwall_source_connected",
			"1 if the source follows the leader of its cluster, 0 if not. Only the leading controller has sources.", []string{"source"}, nil), prometheus.GaugeValue, up, source)
		if g, ok := s.(gauged); ok {
			for _, gauge := range g.gauges() {
				ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("taskwall_source_"+gauge.name, gauge.help,
					[]string{"source"}, nil), prometheus.GaugeValue, float64(gauge.value), source)
			}
		}
		v := reflect.ValueOf(counters)
		for i := range v.NumField() {
			if v.Field(i).Kind() != reflect.Uint64 {
				continue
			}
			name := v.Type().Field(i).Name
			ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("taskwall_source_"+snake(name)+"_total",
				counterHelp[name], []string{"source"}, nil),
				prometheus.CounterValue, float64(v.Field(i).Uint()), source)
		}
	}
}

// watch makes the sources of a term those that are shown.
func (m *sourceMetrics) watch(maker sourceMaker) sourceMaker {
	return func(sink controller.Sink, known *events.Cluster, since time.Time) ([]controller.Source, error) {
		sources, err := maker(sink, known, since)
		if err == nil {
			m.current.Store(&sources)
		}
		return sources, err
	}
}

// snake writes PollFails as poll_fails.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func (m mesosSource) counters() (string, bool, any) {
	st := m.s.Status()
	return "mesos", st.Connected, st.Counters
}

func (m mesosSource) gauges() []gauge {
	st := m.s.Status()
	return []gauge{
		{"hidden_agents", "Mesos agents on which more runs than the master shows.", st.Hidden},
		{"shared_hostnames", "Hostnames that more than one Mesos agent has.", len(st.Shared)},
	}
}

func (m marathonSource) counters() (string, bool, any) {
	st := m.s.Status()
	return "marathon", st.Connected, st.Counters
}

func (m marathonSource) gauges() []gauge {
	return []gauge{{"hidden_apps", "Apps whose tasks run and that Marathon does not show.", m.s.Status().Hidden}}
}
