package marathon

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"
)

// deployment carries the running instances from one set of specs to another.
type deployment struct {
	plan    plan
	version time.Time
	current int // step, from 1
	apps    []string
	pods    []string
	before  map[string]*runSpec // the specs that it replaces, nil for new ones
	cancel  chan struct{}
	ended   chan struct{}
}

var errCancelled = errors.New("cancelled by a newer deployment")

// errLocked is a 409: other deployments hold the same apps.
type errLocked struct{ ids []string }

func (e errLocked) Error() string {
	return "App is locked by one or more deployments. Override with the option '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'."
}

// change applies new specs (nil deletes) as one deployment. The lock is held,
// and is let go while the change is under way but not yet visible.
func (m *Marathon) change(specs map[string]*runSpec, group string, force bool) (*deployment, error) {
	ids := sortedKeys(specs)
	if err := m.claim(ids, force); err != nil {
		m.publish("group_change_failed", groupChange{group, stamp(m.cfg.Clock.Now()), err.Error(), m.head("group_change_failed")})
		return nil, err
	}
	version := m.newVersion()
	d := &deployment{version: version, before: map[string]*runSpec{}, cancel: make(chan struct{}), ended: make(chan struct{})}
	var stops, starts, changes []action
	for _, id := range ids {
		spec, old := specs[id], m.target[id]
		d.before[id] = old
		pod := spec != nil && spec.pod || old != nil && old.pod
		act := func(verb string) action {
			if pod {
				return action{Action: verb + "Pod", Pod: id}
			}
			return action{Action: verb + "Application", App: id}
		}
		if pod {
			d.pods = append(d.pods, id)
		} else {
			d.apps = append(d.apps, id)
		}
		if spec == nil {
			if old != nil {
				stops = append(stops, act("Stop"))
				delete(m.target, id)
			}
			continue
		}
		spec.version = version
		switch {
		case old == nil:
			spec.config, spec.scaledAt = version, version
			starts = append(starts, act("Start"))
			changes = append(changes, act("Scale"))
		case spec.sameConfig(old):
			spec.config, spec.scaledAt = old.config, old.scaledAt
			if spec.instances != old.instances {
				spec.scaledAt = version
				changes = append(changes, act("Scale"))
			}
		default:
			spec.config, spec.scaledAt = version, version
			changes = append(changes, act("Restart"))
		}
		m.target[id] = spec
		m.versions[id] = append(m.versions[id], spec)
	}
	m.begin(d, [][]action{stops, starts, changes})
	if m.cfg.RootLag > 0 {
		fired, stop := m.cfg.Clock.After(m.cfg.RootLag)
		m.mu.Unlock()
		select {
		case <-fired:
		case <-m.ctx.Done():
			stop()
		}
		m.mu.Lock()
	}
	for id, spec := range specs {
		if spec == nil {
			delete(m.root, id)
		} else if m.target[id] == spec {
			m.root[id] = spec
		}
	}
	m.publish("group_change_success", groupChange{group, stamp(version), "", m.head("group_change_success")})
	return d, nil
}

// restart makes a new deployment that replaces an app's tasks by equal ones.
func (m *Marathon) restart(old *runSpec, force bool) (*deployment, error) {
	if err := m.claim([]string{old.id}, force); err != nil {
		return nil, err
	}
	spec := *old
	spec.version = m.newVersion()
	spec.config = spec.version
	m.target[old.id], m.root[old.id] = &spec, &spec
	m.versions[old.id] = append(m.versions[old.id], &spec)
	d := &deployment{version: spec.version, before: map[string]*runSpec{old.id: old}, apps: []string{old.id}, cancel: make(chan struct{}), ended: make(chan struct{})}
	m.begin(d, [][]action{{{Action: "RestartApplication", App: old.id}}})
	return d, nil
}

// rollback ends a deployment by another that brings back what it replaced.
func (m *Marathon) rollback(d *deployment) (*deployment, error) {
	specs := map[string]*runSpec{}
	for id, old := range d.before {
		specs[id] = nil
		if old != nil {
			again := *old
			specs[id] = &again
		}
	}
	return m.change(specs, "/", true)
}

// claim checks that no other deployment works on the same specs, or with
// force cancels those.
func (m *Marathon) claim(ids []string, force bool) error {
	var locked []string
	var holders []*deployment
	for _, d := range m.deployments {
		if slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(d.apps, id) || slices.Contains(d.pods, id) }) {
			locked = append(locked, d.plan.ID)
			holders = append(holders, d)
		}
	}
	if len(locked) > 0 && !force {
		return errLocked{locked}
	}
	for _, d := range holders {
		m.end(d, errCancelled)
	}
	return nil
}

// begin starts a deployment: its first step is announced, and has made its
// instances, before begin returns.
func (m *Marathon) begin(d *deployment, steps [][]action) {
	d.plan = plan{ID: m.cfg.IDs.UUID(), Version: stamp(d.version), Steps: []step{}}
	for _, s := range steps {
		if len(s) > 0 {
			d.plan.Steps = append(d.plan.Steps, step{s})
		}
	}
	m.deployments = append(m.deployments, d)
	if len(d.plan.Steps) == 0 {
		m.end(d, nil)
		return
	}
	m.announce(d)
	m.work.Go(func() { m.deploy(d) })
}

func (m *Marathon) announce(d *deployment) {
	d.current++
	s := d.plan.Steps[d.current-1]
	m.publish("deployment_info", deploymentEvent{d.plan, s, m.head("deployment_info")})
	for _, a := range s.Actions {
		switch a.Action {
		case "StartApplication", "RestartApplication":
			if spec := m.target[a.App]; spec != nil {
				m.announceChecks(spec, true)
			}
		case "StopApplication":
			if list := m.versions[a.App]; len(list) > 0 {
				m.announceChecks(list[len(list)-1], false)
			}
		}
		m.advance(a)
	}
}

// deploy works through the steps.
func (m *Marathon) deploy(d *deployment) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for slices.Contains(m.deployments, d) { // until it is cancelled
		s := d.plan.Steps[d.current-1]
		for !m.stepDone(s) {
			changed := m.changed
			m.mu.Unlock()
			select {
			case <-changed:
			case <-d.cancel:
			case <-m.ctx.Done():
			}
			m.mu.Lock()
			if m.ctx.Err() != nil || !slices.Contains(m.deployments, d) {
				return
			}
		}
		m.publish("deployment_step_success", deploymentEvent{d.plan, s, m.head("deployment_step_success")})
		if d.current == len(d.plan.Steps) {
			m.end(d, nil)
			return
		}
		m.announce(d)
	}
}

// end takes a deployment off the list and says how it went.
func (m *Marathon) end(d *deployment, err error) {
	m.deployments = slices.DeleteFunc(m.deployments, func(o *deployment) bool { return o == d })
	e := deploymentEnd{ID: d.plan.ID, Plan: d.plan, head: m.head("deployment_success")}
	if err != nil {
		close(d.cancel)
		e.head, e.Reason = m.head("deployment_failed"), err.Error()
	}
	m.publish(e.EventType, e)
	close(d.ended)
}

func (m *Marathon) stepDone(s step) bool {
	done := true
	for _, a := range s.Actions {
		if !m.advance(a) {
			done = false
		}
	}
	return done
}

// advance does what an action can do now, and reports whether it is finished.
func (m *Marathon) advance(a action) bool {
	id := a.App + a.Pod
	spec := m.target[id]
	list := m.instancesOf(id)
	switch a.Action {
	case "StartApplication", "StartPod":
		return true
	case "StopApplication", "StopPod":
		for _, i := range list {
			m.decommission(i)
		}
		if len(m.instancesOf(id)) > 0 {
			return false
		}
		m.publish("app_terminated_event", appTerminated{id, m.head("app_terminated_event")})
		return true
	case "ScaleApplication", "ScalePod":
		return spec == nil || m.scale(spec, list)
	case "RestartApplication", "RestartPod":
		return spec == nil || m.replace(spec, list)
	}
	return true
}

// scale brings the number of instances to the spec's.
func (m *Marathon) scale(spec *runSpec, list []*instance) bool {
	var live []*instance
	ending := false
	for _, i := range list {
		switch {
		case i.stopped:
			ending = true
		case i.condition != "UnreachableInactive":
			live = append(live, i)
		}
	}
	ready := 0
	for _, i := range live {
		if i.ready() {
			ready++
		}
	}
	for n := len(live); n < spec.instances; n++ {
		m.schedule(spec)
	}
	if len(live) < spec.instances {
		m.revive()
	}
	for n := len(live); n > spec.instances; n-- {
		m.decommission(live[n-1]) // youngest first
		ending = true
	}
	return ready == spec.instances && len(live) == spec.instances && !ending
}

// replace is a rolling restart: new instances within the over-capacity, old
// ones ended as the new become ready, never below the minimum of health.
func (m *Marathon) replace(spec *runSpec, list []*instance) bool {
	up := spec.upgrade()
	healthy := int(math.Ceil(float64(spec.instances) * up.MinimumHealthCapacity))
	room := int(float64(spec.instances) * (1 + up.MaximumOverCapacity))
	if room == healthy {
		room++ // otherwise nothing could move
	}
	var old, fresh []*instance
	ready, total := 0, 0
	for _, i := range list {
		total++
		if i.stopped {
			continue
		}
		if i.ready() {
			ready++
		}
		if i.spec.config.Equal(spec.config) {
			fresh = append(fresh, i)
		} else {
			old = append(old, i)
		}
	}
	slices.SortStableFunc(old, func(a, b *instance) int { // who serves nobody goes first
		return cmp.Compare(btoi(a.ready()), btoi(b.ready()))
	})
	for len(old) > 0 && (!old[0].ready() || ready-1 >= healthy) {
		if old[0].ready() {
			ready--
		}
		m.decommission(old[0])
		old = old[1:]
	}
	more := false
	for n := len(fresh); n < spec.instances && total < room; n++ {
		m.schedule(spec)
		total++
		more = true
	}
	if more {
		m.revive()
	}
	for n := len(fresh); n > spec.instances; n-- {
		m.decommission(fresh[n-1])
	}
	freshReady := 0
	for _, i := range fresh {
		if i.ready() && !i.stopped {
			freshReady++
		}
	}
	left := m.instancesOf(spec.id)
	return freshReady == spec.instances && len(left) == spec.instances
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// ready reports whether an instance counts as running and, if it is checked,
// healthy.
func (i *instance) ready() bool {
	if i.condition != "Running" {
		return false
	}
	return !i.spec.checked() || i.healthy != nil && *i.healthy
}

// Idle reports whether no deployment is under way and nothing waits to be
// launched or to end.
func (m *Marathon) Idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range m.instances {
		if i.stopped || i.condition == "Scheduled" || i.condition == "Provisioned" {
			return false
		}
	}
	return len(m.deployments) == 0
}
