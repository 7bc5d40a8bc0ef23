package bgp

import "github.com/prometheus/client_golang/prometheus"

var (
	upDesc       = prometheus.NewDesc("taskwall_bgp_session_up", "Whether the session with the peer is established.", []string{"peer"}, nil)
	upsDesc      = prometheus.NewDesc("taskwall_bgp_session_established_total", "How often the session was established.", []string{"peer"}, nil)
	prefixesDesc = prometheus.NewDesc("taskwall_bgp_prefixes", "Prefixes that the peer offers (received), those of them that are taken (accepted), and those offered to it (sent).", []string{"peer", "kind"}, nil)
	refusedDesc  = prometheus.NewDesc("taskwall_bgp_refused_total", "Routes of the peer that were not taken.", []string{"peer"}, nil)
	routesDesc   = prometheus.NewDesc("taskwall_bgp_routes", "Learned routes: in the kernel (installed), and those that it did not take (failed).", []string{"kind"}, nil)
	writesDesc   = prometheus.NewDesc("taskwall_bgp_route_writes_total", "Learned routes that were written to the kernel.", nil, nil)
)

// Describe implements prometheus.Collector.
func (s *Speaker) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{upDesc, upsDesc, prefixesDesc, refusedDesc, routesDesc, writesDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *Speaker) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for _, p := range s.peers {
		up := 0
		if p.state == established {
			up = 1
		}
		gauge(upDesc, up, p.name)
		counter(upsDesc, p.ups, p.name)
		gauge(prefixesDesc, p.counts.received, p.name, "received")
		gauge(prefixesDesc, p.counts.accepted, p.name, "accepted")
		gauge(prefixesDesc, p.counts.sent, p.name, "sent")
		counter(refusedDesc, s.refusals.total[p.name], p.name)
	}
	gauge(routesDesc, len(s.have), "installed")
	gauge(routesDesc, len(s.broken), "failed")
	counter(writesDesc, s.writes)
}
