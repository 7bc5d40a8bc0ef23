package agent

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/taskwall/taskwall/agent/attach"
	"github.com/taskwall/taskwall/agent/firewall"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// checks compares the kernel with the picture from time to time.
func (a *Agent) checks(ctx context.Context) error {
	t, again := time.NewTicker(a.cfg.CheckEvery), time.NewTicker(secondLookAfter)
	defer t.Stop()
	defer again.Stop()
	last := time.Now()
	var retry <-chan time.Time
	wait := time.Second // before a check that failed is tried again
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
			a.lookAgain()
			a.lookFull()
			a.lookForward()
			a.unpark()
			a.sayMore()
			continue
		case <-a.checkNow:
			// What is wrong may need a moment to be all there, and others who
			// write rules all the time must not keep us busy.
			if !pause(ctx, max(200*time.Millisecond, time.Second-time.Since(last))) {
				return nil
			}
		case <-retry:
		case <-t.C:
		}
		err := a.check(ctx)
		last = time.Now()
		a.checked.Store(last.UnixNano())
		if ctx.Err() == nil {
			a.trouble.set("check", saidOf("the kernel cannot be brought to what it should hold", err)...)
		}
		if err == nil {
			retry, wait = nil, time.Second
		} else if ctx.Err() == nil {
			a.log.Error("the check failed; it will be tried again", "error", err)
			retry, wait = time.After(wait), min(2*wait, a.cfg.CheckEvery)
		}
	}
}

// lookForward lets the host forward again, should somebody have turned that off:
// no task would reach another.
func (a *Agent) lookForward() {
	changed, err := a.host.Forward()
	a.trouble.set("forwarding", saidOf("tasks reach nothing but this host", err)...)
	if changed {
		a.report.drift("net.ipv4.ip_forward was off")
		a.hurry() // it is kept by interface, too
	}
}

// looks is how often a check looks at the kernel before it has changes wait.
const looks = 2

// check compares the kernel with the picture. On a large host the kernel takes
// seconds to say what it holds; changes go on meanwhile, and what they wrote the
// look is not asked about. Only while large sets never cease to change do they
// have to wait for one.
func (a *Agent) check(ctx context.Context) error {
	for range looks {
		a.applyMu.Lock()
		a.journal.retry(a.state)
		a.trouble.set("disk", saidOf("the picture is not on disk", a.journal.behind)...)
		synced, sets := a.synced, slices.Sorted(maps.Keys(a.state.Sets))
		a.applyMu.Unlock()
		if !synced {
			return a.firstAgain(ctx)
		}
		look, err := a.fw.Look(ctx, sets)
		if err != nil {
			return err
		}
		a.applyMu.Lock()
		if a.fw.Fresh(look, a.state.Sets) {
			defer a.applyMu.Unlock()
			return a.compare(ctx, look)
		}
		a.applyMu.Unlock()
	}
	a.applyMu.Lock()
	defer a.applyMu.Unlock()
	return a.compare(ctx, nil)
}

// firstAgain tries once more what failed when the process had its first picture.
func (a *Agent) firstAgain(ctx context.Context) error {
	a.applyMu.Lock()
	defer a.applyMu.Unlock()
	if a.synced || a.state.Rev == 0 {
		return nil
	}
	failed, err := a.first(ctx)
	for _, f := range failed {
		a.log.Error("not applied", "what", f.Key, "error", f.Error)
	}
	if err == nil {
		a.log.Info("the kernel holds the picture now", "rev", a.state.Rev)
	}
	return err
}

// noticed hears of interfaces and routes that went, and makes the next check
// come now unless it was the agent's own doing.
func (a *Agent) noticed(c attach.Change) {
	if a.missing(c) {
		a.hurry()
	}
}

func (a *Agent) missing(c attach.Change) bool {
	if c == (attach.Change{}) {
		return true
	}
	a.mu.Lock()
	var it *attachment
	for id, at := range a.attachments {
		if _, working := a.busy[id]; !working && at.Wired && (at.Veth == c.Veth || c.Route.IsSingleIP() && at.Address == c.Route.Addr()) {
			it = at
			break
		}
	}
	a.mu.Unlock()
	if it != nil { // the word may be old: of when the interface was made
		return a.host.Check(it.spec(a.cfg.MTU)) != nil
	}
	if !c.Route.IsValid() {
		return false
	}
	a.applyMu.Lock()
	defer a.applyMu.Unlock()
	_, wanted := a.state.Routes[c.Route]
	return wanted
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// compare brings the kernel to the picture where they differ, and reports
// what did, except at the first time in the process. look may be nil. The
// caller holds applyMu.
func (a *Agent) compare(ctx context.Context, look *firewall.Look) error {
	if !a.synced {
		a.adopt()
	}
	drafts := a.drafts
	a.drafts = nil
	drift, failures, err := a.fw.Sync(ctx, firewall.Picture{Sets: a.state.Sets, Programs: a.state.Programs, Wires: a.withWires, Look: look, Drafts: drafts})
	a.ruled(err)
	if !a.synced || len(drift) > 0 {
		// Connections that were opened until now may be tracked only later; and the next
		// check finds no drift, should this one fail after the rules were mended.
		a.again.join(suspects{everyone: true}, time.Now())
	}
	if err != nil {
		return err
	}
	a.dropParked()
	d, f, err := a.routes.Sync(a.state.Routes, a.later)
	if err != nil {
		return err
	}
	drift, failures = append(drift, d...), append(failures, f...)
	if d, f, err = a.bgp.Sync(); err != nil {
		return err
	}
	drift, failures = append(drift, d...), append(failures, f...)
	drift = append(drift, a.mendAttachments()...)
	wrong := make([]string, len(failures))
	for i, f := range failures {
		a.log.Error("not applied", "what", f.Key, "error", f.Error)
		wrong[i] = f.Key + ": " + f.Error
	}
	slices.Sort(wrong)
	a.trouble.set("kernel", wrong...)
	if a.synced {
		for _, d := range drift {
			a.report.drift(d)
		}
	}
	if !a.synced || len(drift) > 0 {
		// Whatever was open meanwhile, or changed while no agent ran.
		a.order(cut{suspects: suspects{everyone: true}, court: a.court()})
	}
	a.synced = true
	return nil
}

// ruled keeps whether the rules came into force with this process, and has
// attaches that wait for them look again.
func (a *Agent) ruled(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.notInForce = err
	if err == nil {
		a.inForce = true
		close(a.changed)
		a.changed = make(chan struct{})
	}
}

// mendAttachments repairs the host's side of each attachment, when the rules are
// in force. An interface that is gone cannot be: its task has no network any more,
// and when its container is gone too the sweep says that it is detached.
func (a *Agent) mendAttachments() (drift []string) {
	a.mu.Lock()
	var all []*attachment
	for id, at := range a.attachments {
		if _, working := a.busy[id]; !working && at.Wired {
			all = append(all, at)
		}
	}
	a.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	survey, err := a.host.Survey()
	if err != nil {
		a.log.Error("the tasks' interfaces cannot be looked at", "error", err)
		return nil
	}
	for _, at := range all {
		spec := at.spec(a.cfg.MTU)
		err := survey.Check(spec)
		if err == nil {
			continue
		}
		if a.mend(at, spec, err) {
			drift = append(drift, err.Error())
		}
	}
	return drift
}

// mend repairs what is wrong with an attachment, unless it was detached meanwhile
// or just is: another may have its interface's name by then, or its address.
func (a *Agent) mend(at *attachment, spec attach.Spec, wrong error) bool {
	release, _ := a.tryClaim(at.Endpoint)
	if release == nil {
		return false
	}
	defer release()
	a.mu.Lock()
	current := a.attachments[at.Endpoint] == at && at.Wired
	a.mu.Unlock()
	if !current {
		return false
	}
	if !a.synced {
		a.log.Warn("mending what was not right when the agent started", "task", at.Endpoint, "because", wrong)
	}
	if err := a.host.Mend(spec); err != nil {
		a.log.Error("a task's interface cannot be mended", "task", at.Endpoint, "error", err)
		return false
	}
	return true
}

// sweeps looks from time to time for what belongs to containers that are no
// more: after a crash of the Mesos agent or a reboot nobody calls DEL
// (CLUSTER-API 5.4).
func (a *Agent) sweeps(ctx context.Context) error {
	t := time.NewTicker(a.cfg.SweepEvery)
	defer t.Stop()
	for {
		a.sweep(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// missedLooks is how many looks in a row must miss a container: a Mesos agent
// that just started may not list all yet.
const missedLooks = 2

// inhabited says that an attachment's task runs, though the Mesos agent does not
// list its container: what the principal may not view is silently left out of its
// answers, and that must not take a running task's network away.
func (a *Agent) inhabited(at *attachment) bool {
	var lives bool
	switch {
	case at.PID != 0:
		lives = attach.Alive(at.PID, at.Started)
	case at.Namespace != "":
		lives = attach.Inhabited(at.Namespace)
	default: // its record was lost
		lives = a.host.InhabitedBehind(at.Veth)
	}
	if !lives {
		return false
	}
	if at.missed == missedLooks {
		a.log.Error("the Mesos agent does not list a container that runs; its interface is kept. May the principal view all containers?",
			"task", at.Endpoint, "container", at.Container)
	}
	return true
}

// nestedAdopted says whether the container of a nested task's attachment is not
// known: it had no record.
func (a *Agent) nestedAdopted() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.attachments {
		if at.Container == "" && events.IsNestedKey(work.ExecutorOf(at.Endpoint)) {
			return true
		}
	}
	return false
}

// sweep looks for what nobody took away. A nested container is listed as long as
// the one that it is in: with its task's end the controller takes its endpoint back.
func (a *Agent) sweep(ctx context.Context) {
	cs, err := a.mesos.List(ctx)
	if err != nil {
		return // without its word nothing is known to be gone
	}
	listed, of := map[string]bool{}, map[string]string{}
	for _, c := range cs {
		listed[c.ID], of[c.Endpoint()] = true, c.ID
	}
	if a.nestedAdopted() {
		nested, err := a.mesos.Nested(ctx)
		if err != nil {
			return
		}
		for _, c := range nested {
			of[c.Endpoint()] = c.ID
		}
	}
	a.mu.Lock()
	var gone, missing []*attachment
	for _, at := range a.attachments {
		if id := of[work.ExecutorOf(at.Endpoint)]; at.Container == "" && id != "" && !at.leaving {
			at.Container = id
			if err := at.save(a.cfg.StateDir); err != nil {
				a.log.Error("an attachment cannot be kept", "error", err)
			}
		}
		switch {
		case at.leaving: // and could not be removed, or still is
			gone = append(gone, at)
		case listed[rootContainer(at.Container)]:
			at.missed = 0
		default:
			if at.missed = min(at.missed+1, missedLooks+1); at.missed >= missedLooks {
				missing = append(missing, at)
			}
		}
	}
	a.mu.Unlock()
	for _, at := range append(gone, slices.DeleteFunc(missing, a.inhabited)...) {
		if err := a.detach(ctx, at, "its container is gone"); err != nil && ctx.Err() == nil {
			a.log.Error("what is left of a container could not be removed; it will be tried again", "task", at.Endpoint, "error", err)
		}
	}
	a.applyMu.Lock()
	synced := a.synced
	a.applyMu.Unlock()
	if !synced {
		return // an interface may be one to adopt
	}
	a.removeStale()
}
