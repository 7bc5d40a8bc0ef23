package agent

import (
	"github.com/prometheus/client_golang/prometheus"
)

var (
	attachedDesc = prometheus.NewDesc("taskwall_agent_attached", "Tasks' interfaces that the firewall vouches for.", nil, nil)
	cutDesc      = prometheus.NewDesc("taskwall_agent_connections_cut_total", "Established connections that were cut since no policy allows them any more.", nil, nil)
	trackedDesc  = prometheus.NewDesc("taskwall_agent_tracked_connections", "Connections that the kernel tracks.", nil, nil)
	limitDesc    = prometheus.NewDesc("taskwall_agent_tracked_connections_limit", "How many connections the kernel can track (net.netfilter.nf_conntrack_max); what begins another is dropped.", nil, nil)
	droppedDesc  = prometheus.NewDesc("taskwall_agent_tracked_connections_dropped_total", "Packets that began a connection and were dropped, since it could not be tracked.", nil, nil)
	troubleDesc  = prometheus.NewDesc("taskwall_agent_trouble", "How many things of a kind are wrong on the host now: disk (the picture is not on it), kernel (what it refused), check, connections, a watch.", []string{"kind"}, nil)
)

// Metrics are those of the agent and its BGP speaker.
func (a *Agent) Metrics() prometheus.Collector { return metrics{a} }

type metrics struct{ *Agent }

// Describe implements prometheus.Collector.
func (m metrics) Describe(ch chan<- *prometheus.Desc) {
	m.bgp.Describe(ch)
	for _, d := range []*prometheus.Desc{attachedDesc, cutDesc, trackedDesc, limitDesc, droppedDesc, troubleDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	m.bgp.Collect(ch)
	give := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	give(attachedDesc, prometheus.GaugeValue, float64(len(m.wires())))
	give(cutDesc, prometheus.CounterValue, float64(m.cutCount.Load()))
	if u, err := m.flows.Usage(); err == nil {
		give(trackedDesc, prometheus.GaugeValue, float64(u.Count))
		give(limitDesc, prometheus.GaugeValue, float64(u.Max))
		give(droppedDesc, prometheus.CounterValue, float64(u.Dropped))
	}
	kinds := m.trouble.kinds()
	for _, always := range []string{"disk", "kernel", "check", "connections"} {
		kinds[always] += 0
	}
	for kind, n := range kinds {
		give(troubleDesc, prometheus.GaugeValue, float64(n), kind)
	}
}
