package marathon

import (
	"cmp"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// mesosHealthCheck is the first of an app's checks that Mesos makes itself.
func mesosHealthCheck(checks []healthCheck, ports []int) *mesos.HealthCheck {
	for _, c := range checks {
		out := &mesos.HealthCheck{
			DelaySeconds: &c.DelaySeconds, GracePeriodSeconds: &c.GracePeriodSeconds,
			IntervalSeconds: ptr(cmp.Or(c.IntervalSeconds, 60)), TimeoutSeconds: ptr(cmp.Or(c.TimeoutSeconds, 20)),
			ConsecutiveFailures: ptr(cmp.Or(c.MaxConsecutiveFailures, 3)),
		}
		port := uint32(c.Port)
		if port == 0 && c.PortIndex != nil && *c.PortIndex < len(ports) {
			port = uint32(ports[*c.PortIndex])
		}
		switch c.Protocol {
		case "COMMAND":
			if c.Command == nil {
				continue
			}
			out.Type, out.Command = mesos.HealthCheck_COMMAND, &mesos.CommandInfo{Value: ptr(c.Command.Value)}
		case "MESOS_TCP":
			out.Type, out.TCP = mesos.HealthCheck_TCP, &mesos.HealthCheck_TCPCheckInfo{Port: port}
		case "MESOS_HTTP":
			out.Type, out.HTTP = mesos.HealthCheck_HTTP, &mesos.HealthCheck_HTTPCheckInfo{Port: port, Path: &c.Path, Scheme: ptr("http")}
		default:
			continue // Marathon's own checks come from the leader
		}
		return out
	}
	return nil
}

// podHealthCheck is the check of one container of a pod.
func podHealthCheck(c *healthCheck, endpoints []endpoint, hostPorts []int) *mesos.HealthCheck {
	if c == nil {
		return nil
	}
	out := &mesos.HealthCheck{
		DelaySeconds: &c.DelaySeconds, GracePeriodSeconds: &c.GracePeriodSeconds,
		IntervalSeconds: ptr(cmp.Or(c.IntervalSeconds, 60)), TimeoutSeconds: ptr(cmp.Or(c.TimeoutSeconds, 20)),
		ConsecutiveFailures: ptr(cmp.Or(c.MaxConsecutiveFailures, 3)),
	}
	port := func(name string) uint32 {
		host := 0
		for _, e := range endpoints {
			if e.Name == name && e.ContainerPort != 0 {
				return uint32(e.ContainerPort)
			}
			if e.HostPort != nil {
				if e.Name == name && host < len(hostPorts) {
					return uint32(hostPorts[host])
				}
				host++
			}
		}
		return 0
	}
	switch {
	case c.Exec != nil:
		out.Type, out.Command = mesos.HealthCheck_COMMAND, &mesos.CommandInfo{Value: &c.Exec.Command.Shell}
	case c.TCP != nil:
		out.Type, out.TCP = mesos.HealthCheck_TCP, &mesos.HealthCheck_TCPCheckInfo{Port: port(c.TCP.Endpoint)}
	case c.HTTP != nil:
		out.Type = mesos.HealthCheck_HTTP
		out.HTTP = &mesos.HealthCheck_HTTPCheckInfo{Port: port(c.HTTP.Endpoint), Path: &c.HTTP.Path, Scheme: ptr("http")}
	default:
		return nil
	}
	return out
}

// checked reports whether somebody checks the health of a spec's tasks.
func (s *runSpec) checked() bool {
	for _, c := range s.podSpec.Containers {
		if podHealthCheck(c.HealthCheck, nil, nil) != nil {
			return true
		}
	}
	return mesosHealthCheck(s.app.HealthChecks, nil) != nil || len(s.ownChecks()) > 0
}
