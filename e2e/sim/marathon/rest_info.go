package marathon

import (
	"net/http"
	"slices"
)

// version is the release that the simulator imitates.
const version = "1.11.24"

func (m *Marathon) getInfo(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	features := []string{}
	if m.cfg.TaskKilling {
		features = append(features, "task_killing")
	}
	reply(w, r, http.StatusOK, object{
		"name": "marathon", "version": version, "buildref": "unknown", "elected": true,
		"leader": m.leaderAddr(), "frameworkId": m.framework,
		"marathon_config": object{
			"checkpoint": true, "default_network_name": m.cfg.DefaultNetwork, "failover_timeout": 604800,
			"features": features, "framework_name": "marathon", "ha": true, "hostname": "localhost",
			"mesos_bridge_name": m.cfg.BridgeName, "mesos_user": m.cfg.User,
			"event_stream_max_outstanding_messages": m.cfg.Outstanding,
			"master":                                "zk://localhost:2181/mesos", "mesos_leader_ui_url": "http://localhost:5050/",
		},
		"zookeeper_config": object{"zk": "zk://localhost:2181/marathon", "zk_max_versions": 50},
		"http_config":      object{"http_port": 8080, "https_port": 8443},
	})
}

func (m *Marathon) leaderAddr() string {
	if m.leader == nil {
		return ""
	}
	return m.leader.addr
}

func (m *Marathon) getLeader(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leader == nil {
		fail(w, http.StatusNotFound, "There is no leader")
		return
	}
	reply(w, r, http.StatusOK, object{"leader": m.leader.addr})
}

func (m *Marathon) deleteLeader(w http.ResponseWriter, r *http.Request) {
	reply(w, r, http.StatusOK, object{"message": "Leadership abdicated"})
	m.ChangeLeader()
}

func (m *Marathon) getDeployments(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := []object{}
	for _, d := range m.deployments {
		if affected := slices.Concat(d.apps, d.pods); len(affected) > 0 && !slices.ContainsFunc(affected, m.mayView) {
			continue
		}
		current := []action{}
		if d.current > 0 {
			current = d.plan.Steps[d.current-1].Actions
		}
		actions := []object{}
		for _, a := range current {
			o := object{"action": a.Action, "readinessCheckResults": []any{}}
			if a.App != "" {
				o["app"] = a.App
			} else {
				o["pod"] = a.Pod
			}
			actions = append(actions, o)
		}
		out = append(out, object{
			"id": d.plan.ID, "version": stamp(d.version), "affectedApps": orEmpty(d.apps), "affectedPods": orEmpty(d.pods),
			"steps": d.plan.Steps, "currentActions": actions, "currentStep": d.current, "totalSteps": len(d.plan.Steps),
		})
	}
	reply(w, r, http.StatusOK, out)
}

// deleteDeployment cancels a deployment. With force it stays where it is; else a
// new deployment brings back what was before.
func (m *Marathon) deleteDeployment(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.deployments {
		if d.plan.ID == r.PathValue("id") {
			if forced(r) {
				m.end(d, errCancelled)
				w.WriteHeader(http.StatusAccepted)
				return
			}
			back, err := m.rollback(d)
			if err != nil {
				refuseChange(w, err)
				return
			}
			reply(w, r, http.StatusOK, object{"version": stamp(back.version), "deploymentId": back.plan.ID})
			return
		}
	}
	fail(w, http.StatusNotFound, "Deployment "+r.PathValue("id")+" does not exist")
}

func (m *Marathon) getQueue(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	waiting := map[string]int{}
	for _, i := range m.instances {
		if i.condition == "Scheduled" {
			waiting[i.spec.id]++
		}
	}
	out := []object{}
	for _, id := range sortedKeys(waiting) {
		s := m.target[id]
		if s == nil {
			continue
		}
		kind := "app"
		if s.pod {
			kind = "pod"
		}
		out = append(out, object{
			kind: s.model(), "count": waiting[id], "role": s.role(), "since": stamp(s.version),
			"delay":                  object{"timeLeftSeconds": 0, "overdue": true},
			"processedOffersSummary": object{"processedOffersCount": 0, "unusedOffersCount": 0},
		})
	}
	reply(w, r, http.StatusOK, object{"queue": out})
}
