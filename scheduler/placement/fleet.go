package placement

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"github.com/taskwall/taskwall/events"
)

// How long offers are refused: of a host that has its task, which a REVIVE ends;
// of one that is to be asked about first, or that has too little; and at most, of
// one whose task keeps failing.
const (
	refuseCovered = time.Hour
	refuseSoon    = 5 * time.Second
	refuseShort   = time.Minute
	refuseFailing = 5 * time.Minute
)

const (
	// wellAfter is how long a task must have run for its end not to count as a
	// failure to start.
	wellAfter = 5 * time.Minute
	// repeatAfter is when a KILL, or the question about a task that does not start,
	// is sent again: the master may have lost either.
	repeatAfter = time.Minute
	// reconcileEvery is how often the master is asked about all tasks.
	reconcileEvery = 15 * time.Minute
)

// fleet is what is known of the hosts and their tasks, and decides what to do.
type fleet struct {
	task   Task
	spec   string
	steady time.Duration
	newID  func() string // unique
	now    func() time.Time
	// lasting is set once the framework's id is where the next controller finds it.
	lasting bool

	hosts    map[string]*host // by Mesos agent id
	count    Counters
	replaced string    // the host whose task is being replaced; "" none
	asked    time.Time // when the master was last asked about all tasks
}

// host is one Mesos agent.
type host struct {
	name  string // "" until it is offered
	task  string // id; "" none
	state mesos.TaskState
	since time.Time // of the state
	sure  bool      // the master was asked in this session what runs here
	// failed counts the tasks in a row that ended before they had run for long.
	failed int
	next   time.Time // no task before
	revive bool      // offers are refused, and wanted from next on
	asked  time.Time // when the KILL, or the question about the task, was last sent
	says   string    // why there is no task; "" no reason is known
}

func newFleet(c *Config, newID func() string) *fleet {
	return &fleet{task: c.Task, spec: Spec(c.Task), steady: c.Steady, newID: newID, now: c.Now, hosts: map[string]*host{}}
}

// begin starts a session: the master may be another.
func (f *fleet) begin() []*scheduler.Call {
	for _, h := range f.hosts {
		h.sure = false
	}
	f.asked = f.now()
	return f.ask(func(*host) bool { return true })
}

// ask are the calls that ask about the tasks of some hosts.
func (f *fleet) ask(which func(*host) bool) []*scheduler.Call {
	tasks := map[string]string{}
	for id, h := range f.hosts {
		if h.task != "" && which(h) {
			tasks[h.task] = id
		}
	}
	if len(tasks) == 0 {
		return nil
	}
	return []*scheduler.Call{calls.Reconcile(calls.ReconcileTasks(tasks))}
}

// offers takes the master's offers: of each host that has no task, one is
// accepted.
func (f *fleet) offers(offers []mesos.Offer) (made []*scheduler.Call) {
	now, unsure := f.now(), false
	back := map[*host]bool{}
	refused := map[time.Duration][]mesos.OfferID{}
	for i := range offers {
		o := &offers[i]
		h := f.host(o.AgentID.Value)
		h.name = o.Hostname
		refuse := func(d time.Duration) { refused[d] = append(refused[d], o.ID) }
		switch {
		case h.state == mesos.TASK_UNREACHABLE, h.task != "" && !h.sure:
			// Its agent is back, or has come to this master, which answered nothing
			// before. Of a task that did not come along it says nothing unless asked.
			h.sure, back[h] = true, true
			refuse(refuseSoon)
		case h.task != "":
			refuse(refuseCovered)
		case !h.sure: // it may run a task that an earlier controller gave it; the answer comes before the next offer
			h.sure, unsure = true, true
			refuse(refuseSoon)
		case !f.lasting:
			refuse(refuseSoon)
		case now.Before(h.next):
			refuse(h.next.Sub(now))
		default:
			res, lacks := take(o, &f.task)
			if lacks != "" {
				h.says = lacks
				refuse(refuseShort)
				continue
			}
			f.count.Launched++
			h.task, h.state, h.since, h.asked = f.id(o.AgentID.Value), mesos.TASK_STAGING, now, now
			made = append(made, calls.Accept(calls.OfferOperations{calls.OpLaunch(f.info(h.task, o.AgentID, res))}.WithOffers(o.ID)).
				With(calls.RefuseSeconds(refuseCovered)))
		}
	}
	for _, d := range slices.Sorted(maps.Keys(refused)) {
		made = append(made, calls.Decline(refused[d]...).With(calls.RefuseSeconds(d)))
	}
	made = append(f.ask(func(h *host) bool { return back[h] }), made...)
	if unsure {
		made = append([]*scheduler.Call{calls.Reconcile()}, made...) // of all tasks that the master knows
	}
	return made
}

func (f *fleet) host(agent string) *host {
	h := f.hosts[agent]
	if h == nil {
		h = &host{}
		f.hosts[agent] = h
	}
	return h
}

// update takes what became of a task.
func (f *fleet) update(s *mesos.TaskStatus) (made []*scheduler.Call) {
	id, agent, state := s.TaskID.Value, s.GetAgentID().GetValue(), s.GetState()
	if len(s.UUID) > 0 && agent != "" {
		made = append(made, calls.Acknowledge(agent, id, s.UUID))
	}
	spec, of, ours := parseID(id)
	if !ours {
		return made
	}
	agent = cmp.Or(agent, of)
	h, now := f.host(agent), f.now()
	if events.Terminal(state.String()) || state == mesos.TASK_UNKNOWN || state == mesos.TASK_LOST {
		if h.task == id {
			f.ended(h, s)
		}
		if state == mesos.TASK_GONE_BY_OPERATOR || state == mesos.TASK_UNKNOWN { // nor does the master know the agent (any more)
			delete(f.hosts, agent)
		}
		return made
	}
	switch {
	case h.task == "":
		h.task = id
	case h.task != id && spec == f.spec && h.outdated(f.spec) && state == mesos.TASK_RUNNING:
		made = append(made, calls.Kill(h.task, agent)) // two: the newer stays
		h.task = id
	case h.task != id:
		return append(made, calls.Kill(id, agent))
	}
	if h.state != state || h.since.IsZero() {
		h.state, h.since = state, now
	}
	h.says = ""
	return made
}

// lost takes it that an agent is away, or removed, which comes after the updates
// of its tasks. Without one it is a host again when it is offered again.
func (f *fleet) lost(agent string) {
	if h := f.hosts[agent]; h != nil && h.task == "" {
		delete(f.hosts, agent)
	}
}

// ended notes that a host's task is no more.
func (f *fleet) ended(h *host, s *mesos.TaskStatus) {
	now := f.now()
	killed := s.GetState() == mesos.TASK_KILLED || h.state == mesos.TASK_KILLING
	if h.state == mesos.TASK_RUNNING && now.Sub(h.since) >= wellAfter {
		h.failed = 0
	}
	f.count.Ended++
	if !killed {
		h.failed++
	}
	h.says = fmt.Sprintf("its task ended: %s", said(s))
	h.task, h.state, h.since, h.revive = "", 0, now, true
	if h.next = now; h.failed > 0 {
		h.next = now.Add(min(time.Second<<min(h.failed, 10), refuseFailing))
	}
}

// said is a status in words, short whatever a task says.
func said(s *mesos.TaskStatus) string {
	m := s.GetMessage()
	m = strings.ToValidUTF8(m[:min(len(m), 200)], "")
	m = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, m)
	if m = strings.Join(strings.Fields(m), " "); m != "" {
		return s.GetState().String() + ": " + m
	}
	return s.GetState().String()
}

// tick does what is due.
func (f *fleet) tick() (made []*scheduler.Call) {
	now, revive := f.now(), false
	for _, h := range f.hosts {
		if h.revive && !now.Before(h.next) {
			h.revive, revive = false, true
		}
	}
	if revive {
		made = append(made, calls.Revive())
	}
	if now.Sub(f.asked) >= reconcileEvery {
		f.asked = now
		made = append(made, f.ask(func(*host) bool { return true })...)
	}
	made = append(made, f.ask(func(h *host) bool { // a launch or an update may be lost
		if h.state != mesos.TASK_STAGING && h.state != mesos.TASK_STARTING || now.Sub(h.asked) < repeatAfter {
			return false
		}
		h.asked = now
		return true
	})...)
	return append(made, f.replace()...)
}

// replace ends one task that is not what it should be, when all others run. The
// host is offered again, and gets its new task; until that runs steadily the
// other hosts keep what they have.
func (f *fleet) replace() []*scheduler.Call {
	now := f.now()
	kill := func(id string, h *host) []*scheduler.Call {
		h.asked = now
		return []*scheduler.Call{calls.Kill(h.task, id)}
	}
	if h := f.hosts[f.replaced]; h != nil {
		switch {
		case h.state == mesos.TASK_UNREACHABLE: // it may never come back
		case h.outdated(f.spec) && now.Sub(h.asked) >= repeatAfter:
			return kill(f.replaced, h)
		case h.task == "" || h.outdated(f.spec) || h.state != mesos.TASK_RUNNING || now.Sub(h.since) < f.steady:
			return nil
		}
	}
	f.replaced = ""
	var next string
	for id, h := range f.hosts {
		switch {
		case h.task == "" && h.failed == 0, h.state == mesos.TASK_UNREACHABLE: // it has too little, or is away
		case h.state != mesos.TASK_RUNNING:
			return nil
		case h.outdated(f.spec) && (next == "" || h.name < f.hosts[next].name):
			next = id
		}
	}
	if next == "" {
		return nil
	}
	f.replaced = next
	f.count.Replaced++
	return kill(next, f.hosts[next])
}

func (h *host) outdated(spec string) bool {
	of, _, ours := parseID(h.task)
	return ours && of != spec
}
