package whatif

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/reach"
	"github.com/taskwall/taskwall/scheduler"
)

// Options say what to replay.
type Options struct {
	// Resources are the other policies, all of them: what is not among them
	// would not be in force.
	Resources []events.Resource
	// State is as it was when the stretch begins. It is folded on.
	State *scheduler.State
	// Log is what happened from there on, Reports what hosts reported, each in
	// its order.
	Log     iter.Seq2[events.Entry, error]
	Reports iter.Seq2[work.StoredReport, error]
	// From and To bound the stretch. From is not before State's time.
	From, To time.Time
	// Progress, which may be nil, is called now and then.
	Progress func(events int, at time.Time)
}

// replay follows both worlds through the stretch.
type replay struct {
	o         Options
	wanted    func(from, to Party) bool // nil: all
	seen      func(Party)               // nil, or is told of each that comes up
	state     *scheduler.State
	resolved  func(id string) (policy.Endpoint, bool) // the state's
	was, is   *world
	book      *reach.Book
	now       time.Time
	events    int
	members   map[string]member   // by endpoint
	byAddress map[string][]string // endpoints that have an address
	classes   map[string]*class
	all       []*class // in the order in which they came up
	suspects  []*class // those of them that the other policies may treat otherwise
	networks  map[string]*class
	flows     map[string]*flow
	packets   map[string]*Packets
	unknown   int
}

// member is an endpoint as the classes have it.
type member struct {
	class   *class
	address string
}

func newReplay(o Options) *replay {
	return &replay{
		o: o, state: o.State, resolved: o.State.Resolved, was: newWorld(), is: newWorld(), book: reach.NewBook(), now: o.From,
		members: map[string]member{}, byAddress: map[string][]string{}, classes: map[string]*class{},
		networks: map[string]*class{}, flows: map[string]*flow{}, packets: map[string]*Packets{},
	}
}

// Run replays the stretch. An error is of the log or of the reports, or
// resource.Problems: the other policies cannot be applied.
func Run(ctx context.Context, o Options) (*Report, error) {
	r := newReplay(o)
	if err := r.run(ctx); err != nil {
		return nil, err
	}
	return r.report(), nil
}

// run follows both worlds to the end of the stretch.
func (r *replay) run(ctx context.Context) error {
	o := &r.o
	for _, w := range []*world{r.was, r.is} {
		w.r.SetEnvironmentLabel(o.State.Settings().EnvironmentLabel)
	}
	if err := r.is.r.Apply(o.Resources, nil); err != nil {
		return err
	}
	if err := r.was.r.Apply(o.State.Resources(), nil); err != nil {
		return fmt.Errorf("applying the policies that were in force: %w", err)
	}
	all := map[string]bool{}
	for _, e := range o.State.Endpoints() {
		all[e.ID] = true
	}
	r.update(all, true)

	nextReport, stop := iter.Pull2(o.Reports)
	defer stop()
	report, err, more := nextReport()
	reportsUntil := func(t time.Time) error {
		for ; more && err == nil && !report.Stored.After(t); report, err, more = nextReport() {
			if report.Err != nil && report.Host == "" { // missing or damaged: it may have been of any host
				return fmt.Errorf("reading the reports: %w", report.Err)
			}
			if !report.Stored.Before(o.From) && report.Err == nil && report.Logged != nil {
				r.observe(&report)
			}
		}
		if more && err != nil {
			return fmt.Errorf("reading the reports: %w", err)
		}
		return nil
	}
	for e, err := range o.Log {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("reading the log after record %d: %w", r.state.Seq(), err)
		}
		if e.Event.Received.After(o.To) {
			break
		}
		if err := reportsUntil(e.Event.Received); err != nil {
			return err
		}
		if err := r.entry(e); err != nil {
			return err
		}
	}
	if err := reportsUntil(o.To); err != nil {
		return err
	}
	if o.To.After(r.now) {
		r.now = o.To
	}
	return nil
}

// progressEvery is how many events go by between two reports of progress.
const progressEvery = 10_000

// entry folds one entry and follows what it changes.
func (r *replay) entry(e events.Entry) error {
	if e.Seq <= r.state.Seq() {
		return nil
	}
	if want := r.state.Seq() + 1; e.Seq != want {
		return fmt.Errorf("the log goes from record %d to %d: it cannot be replayed", want-1, e.Seq)
	}
	refused := r.state.Refusal()
	r.state.Apply(e)
	if t := r.state.Now(); t.After(r.now) {
		r.now = t
	}
	if r.events++; r.o.Progress != nil && r.events%progressEvery == 0 {
		r.o.Progress(r.events, r.now)
	}
	policies := false
	switch ev := e.Event; ev.Kind {
	case events.PolicyApply:
		if now := r.state.Refusal(); now == nil || refused != nil && now.Seq == refused.Seq {
			if err := r.was.r.Apply(ev.Policy.Put, ev.Policy.Delete); err != nil {
				return fmt.Errorf("applying the policies of record %d: %w", e.Seq, err)
			}
			policies = true
		}
	case events.SettingsPut:
		for _, w := range []*world{r.was, r.is} {
			w.r.SetEnvironmentLabel(ev.Settings.EnvironmentLabel)
		}
	}
	touched := map[string]bool{}
	for _, id := range r.state.Touched() {
		touched[id] = true
	}
	if len(touched) > 0 || policies {
		r.update(touched, policies)
	}
	return nil
}

// update brings both worlds up to what the touched endpoints now are, and the
// classes up to both worlds.
func (r *replay) update(touched map[string]bool, policies bool) {
	for _, id := range slices.Sorted(maps.Keys(touched)) {
		e, lives := r.resolved(id)
		if lives = lives && e.Address.Is4(); lives {
			r.was.r.PutEndpoint(e)
			r.is.r.PutEndpoint(e)
		} else {
			r.was.r.DeleteEndpoint(id)
			r.is.r.DeleteEndpoint(id)
		}
		r.place(id, e, lives)
	}
	nets := policies
	was, is := r.was.flush(r.book), r.is.flush(r.book)
	for _, c := range []changed{was, is} {
		nets = nets || c.nets
		for id := range c.endpoints {
			touched[id] = true
		}
		for a := range c.addresses {
			for _, id := range r.byAddress[a] {
				touched[id] = true
			}
			nets = nets || r.networks[a+"/32"] != nil
		}
	}
	if nets {
		r.renet()
	}
	if nets || len(was.postures)+len(is.postures) > 0 {
		for id := range r.members {
			if nets || was.postures[r.was.r.Posture(id)] || is.postures[r.is.r.Posture(id)] {
				touched[id] = true
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(touched)) {
		if m, known := r.members[id]; known {
			e, _ := r.resolved(id)
			r.move(id, m, r.class(e))
		}
	}
}

// place keeps the index of addresses, and takes an endpoint that ended, or that
// has another address, out of its class.
func (r *replay) place(id string, e policy.Endpoint, lives bool) {
	m, known := r.members[id]
	address := e.Address.String()
	if known && lives && m.address == address {
		return
	}
	if known {
		r.byAddress[m.address] = slices.DeleteFunc(r.byAddress[m.address], func(s string) bool { return s == id })
		if len(r.byAddress[m.address]) == 0 {
			delete(r.byAddress, m.address)
		}
		r.count(m.class, -1)
		delete(r.members, id)
	}
	if lives {
		r.byAddress[address] = append(r.byAddress[address], id)
		r.members[id] = member{address: address}
	}
}

// move puts an endpoint into a class.
func (r *replay) move(id string, m member, next *class) {
	if m.class == next {
		return
	}
	r.count(m.class, -1)
	r.count(next, 1)
	m.class = next
	r.members[id] = m
}
