package marathon

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Marathon's own health checks, of protocol HTTP, HTTPS and TCP: the leader
// connects to each running task (CLUSTER-API 1.4).

// Dial opens the leader's connections to tasks.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// checkResult is what one check has seen of one task.
type checkResult struct {
	alive        bool
	failures     int // in a row
	firstSuccess time.Time
	lastSuccess  time.Time
	lastFailure  time.Time
	cause        string
}

// ownChecks are the places of an app's checks that Marathon makes itself.
func (s *runSpec) ownChecks() []int {
	var out []int
	for n, c := range s.app.HealthChecks {
		if slices.Contains([]string{"HTTP", "HTTPS", "TCP"}, c.Protocol) {
			out = append(out, n)
		}
	}
	return out
}

// rawCheck is a check as it was written.
func (s *runSpec) rawCheck(n int) any {
	list, _ := s.raw["healthChecks"].([]any)
	if n < len(list) {
		return list[n]
	}
	return object{}
}

// announceChecks says that the checks of an app begin, or that they are over.
func (m *Marathon) announceChecks(s *runSpec, begin bool) {
	for _, n := range s.ownChecks() {
		if begin {
			m.publish("add_health_check_event", addHealthCheck{s.id, s.rawCheck(n), stamp(s.version), m.head("add_health_check_event")})
		} else {
			m.publish("remove_health_check_event", appTerminated{s.id, m.head("remove_health_check_event")})
		}
	}
}

// probe starts the checks of a task that has begun to run.
func (m *Marathon) probe(i *instance, t *task) {
	t.checks = map[int]*checkResult{}
	for _, n := range i.spec.ownChecks() {
		m.work.Go(func() { m.probeLoop(i, t, n) })
	}
}

func (m *Marathon) probeLoop(i *instance, t *task, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, spec := i.spec.app.HealthChecks[n], i.spec
	wait := seconds(c.DelaySeconds, 15)
	for t.condition == "Running" && m.ctx.Err() == nil {
		address := probeAddress(spec, i, t, c)
		m.mu.Unlock()
		fired, stop := m.cfg.Clock.After(wait)
		var err error
		select {
		case <-fired:
			err = m.reach(c, address)
		case <-m.ctx.Done():
			stop()
		}
		m.mu.Lock()
		if m.ctx.Err() != nil || t.condition != "Running" {
			return
		}
		m.checked(i, t, n, err)
		wait = seconds(c.IntervalSeconds, 60)
	}
}

// checked takes one result: what changed is told, and a task that failed too
// often is killed. Failures before the first success are forgiven while the
// grace period lasts.
func (m *Marathon) checked(i *instance, t *task, n int, failure error) {
	c, now := i.spec.app.HealthChecks[n], m.cfg.Clock.Now()
	r, known := t.checks[n], true
	if r == nil {
		r, known = &checkResult{}, false
	}
	before := r.alive
	if failure == nil {
		r.alive, r.failures, r.lastSuccess = true, 0, now
		if r.firstSuccess.IsZero() {
			r.firstSuccess = now
		}
	} else {
		if r.firstSuccess.IsZero() && now.Sub(i.started) < seconds(c.GracePeriodSeconds, 300) {
			return
		}
		r.alive, r.failures, r.lastFailure, r.cause = false, r.failures+1, now, failure.Error()
		m.publish("failed_health_check_event", failedHealthCheck{i.spec.id, i.spec.rawCheck(n), i.id, m.head("failed_health_check_event")})
	}
	t.checks[n] = r
	if !known || before != r.alive {
		m.publish("health_status_changed_event", healthStatusChanged{
			i.spec.id, i.id, stamp(i.spec.version), r.alive, m.head("health_status_changed_event")})
		m.publishHealth(i)
		m.touch()
	}
	if most := int(cmp.Or(c.MaxConsecutiveFailures, 3)); failure != nil && r.failures >= most {
		m.publish("unhealthy_instance_kill_event", unhealthyKill{
			i.spec.id, t.id, i.id, stamp(i.spec.version), r.cause, i.host, i.agentID, m.head("unhealthy_instance_kill_event")})
		m.kill(i)
		r.failures = 0 // the kill is under way
	}
}

// reach makes one check; without a Dial every task is well.
func (m *Marathon) reach(c healthCheck, address string) error {
	if m.cfg.Dial == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(m.ctx, seconds(c.TimeoutSeconds, 20))
	defer cancel()
	if c.Protocol == "TCP" {
		conn, err := m.cfg.Dial(ctx, "tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	}
	scheme := "http"
	if c.Protocol == "HTTPS" {
		scheme = "https"
	}
	client := http.Client{Transport: &http.Transport{
		DialContext: m.cfg.Dial, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // as Marathon does
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+"/"+trimSlash(c.Path), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("%s", resp.Status)
	}
	return nil
}

// probeAddress is where a check connects to: the container's own address and
// port where it has one, else the host's.
func probeAddress(s *runSpec, i *instance, t *task, c healthCheck) string {
	index := 0
	if c.PortIndex != nil {
		index = *c.PortIndex
	}
	host, port := i.host, c.Port
	mapped := s.app.Container != nil && index < len(s.app.Container.PortMappings)
	switch {
	case len(t.ips) > 0 && mapped && s.app.Container.PortMappings[index].HostPort == nil:
		host = t.ips[0].IPAddress
		port = cmp.Or(port, s.app.Container.PortMappings[index].ContainerPort)
	case index < len(t.ports):
		port = cmp.Or(port, t.ports[index])
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// resultModels are the results as /v2/tasks shows them (CLUSTER-API 2.2).
func (t *task) resultModels(i *instance) []any {
	out := []any{}
	for _, n := range i.spec.ownChecks() {
		r := t.checks[n]
		if r == nil {
			continue
		}
		o := object{"alive": r.alive, "consecutiveFailures": r.failures, "instanceId": i.id}
		for key, at := range map[string]time.Time{"firstSuccess": r.firstSuccess, "lastSuccess": r.lastSuccess, "lastFailure": r.lastFailure} {
			if !at.IsZero() {
				o[key] = stamp(at)
			}
		}
		if r.cause != "" {
			o["lastFailureCause"] = r.cause
		}
		out = append(out, o)
	}
	return out
}

func seconds(s, otherwise float64) time.Duration {
	return time.Duration(cmp.Or(s, otherwise) * float64(time.Second))
}

func trimSlash(path string) string {
	for len(path) > 0 && path[0] == '/' {
		path = path[1:]
	}
	return path
}
