package timeline

import (
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
)

// Subject is whom a timeline is about. Exactly one field is set.
type Subject struct {
	App     string
	Task    string // a Mesos task id, an executor id, or an endpoint's id
	Address netip.Addr
	Host    string
	Policy  string // a resource's key as text, or without its kind
}

// Event is one thing that happened.
type Event struct {
	Time   time.Time `json:"time,omitzero"`    // zero: not known, of what is unreadable
	Seq    uint64    `json:"seq,omitempty"`    // of the log's entry; 0: a host's report that is not in the log
	Report uint64    `json:"report,omitempty"` // place in the REPORTS stream
	Kind   string    `json:"kind"`             // a word, such as "staged", "wired", "policy", "denied"
	App    string    `json:"app,omitempty"`
	Task   string    `json:"task,omitempty"`
	Host   string    `json:"host,omitempty"`
	Text   string    `json:"text"`
	// Took is how long the host worked on it, in nanoseconds.
	Took   time.Duration `json:"took,omitempty"`
	Author string        `json:"author,omitempty"` // of a policy change
	Commit string        `json:"commit,omitempty"`
	Denied *Denied       `json:"denied,omitempty"`
}

// Unreadable is the kind of what could not be told. Without a host it is a place
// where reports are missing or damaged, which is told whatever the window is.
const Unreadable = "unreadable"

// Teller tells the story of its subject. It is not safe for concurrent use.
type Teller struct {
	state   *scheduler.State
	subject Subject
	// mine are the endpoints that are the subject's, with what was last known of
	// them; those that ended stay until their host says that they are unwired.
	mine    map[string]scheduler.EndpointView
	ended   map[string]bool
	apps    map[string]bool   // whose deployments are told
	steps   map[string]string // what was last told of a deployment
	reports uint64            // the last report that the log took in
	names   *setNames
	out     []Event
	entry   events.Entry
}

// New begins a story with a state, which from now on is the Teller's.
func New(s *scheduler.State, subject Subject) *Teller {
	t := &Teller{
		state: s, subject: subject, mine: map[string]scheduler.EndpointView{}, ended: map[string]bool{},
		apps: map[string]bool{}, steps: map[string]string{},
	}
	if subject.App != "" {
		t.apps[subject.App] = true
	}
	if app := events.AppOf(subject.Task); app != "" {
		t.apps[app] = true
	}
	for _, e := range s.View().Endpoints {
		t.keep(&e)
	}
	if holder, held := s.Holder(subject.Address); held && t.mine[holder].ID == "" { // it ended, and is not unwired
		t.mine[holder] = scheduler.EndpointView{ID: holder, Task: taskOf(holder), Address: subject.Address}
		t.ended[holder] = true
	}
	return t
}

// is reports whether an endpoint is the subject's.
func (t *Teller) is(e *scheduler.EndpointView) bool {
	switch s := &t.subject; {
	case e.ID == "":
		return false
	case s.App != "":
		return e.App == s.App
	case s.Task != "":
		_, executor, _ := strings.Cut(e.ID, "/")
		return e.Task == s.Task || executor == s.Task || e.ID == s.Task
	case s.Address.IsValid():
		return e.Address == s.Address
	case s.Host != "":
		return e.Host == s.Host
	}
	return false
}

// keep remembers an endpoint if it is the subject's.
func (t *Teller) keep(e *scheduler.EndpointView) bool {
	if !t.is(e) {
		return false
	}
	t.mine[e.ID] = *e
	delete(t.ended, e.ID)
	return true
}

// Entry folds the log's next entry and tells what it means for the subject.
func (t *Teller) Entry(e events.Entry) []Event {
	if e.Seq <= t.state.Seq() {
		return nil
	}
	t.entry, t.out = e, nil
	tell := t.prepare(e.Event)
	ids := t.concerned(e.Event)
	before := make([]scheduler.EndpointView, len(ids))
	for i, id := range ids {
		before[i], _ = t.state.Endpoint(id)
	}
	t.state.Apply(e)
	if holder, held := t.state.Holder(t.subject.Address); held && !slices.Contains(ids, holder) {
		if _, known := t.mine[holder]; !known { // one that waited for an address
			ids, before = append(ids, holder), append(before, scheduler.EndpointView{})
		}
	}
	tell()
	for i, id := range ids {
		after, _ := t.state.Endpoint(id)
		t.endpoint(&before[i], &after)
	}
	return t.out
}

// concerned are the endpoints that an event may change otherwise than by
// policy: those that it is about, and the subject's that wait for an address.
func (t *Teller) concerned(ev events.Event) []string {
	var ids []string
	switch ev.Kind {
	case events.TaskPut:
		ids = append(ids, ev.Task.Endpoint())
		if old, had := t.state.Task(ev.Task.Key()); had {
			ids = append(ids, old.Endpoint())
		}
	case events.TaskGone:
		if old, had := t.state.Task(ev.Gone.Key); had {
			ids = append(ids, old.Endpoint())
		}
	case events.HostPut:
		ids = t.state.On(ev.Host.Agent)
	case events.HostGone:
		ids = t.state.On(ev.Gone.Key)
	case events.FrameworkPut:
		ids = t.state.Of(ev.Framework.ID)
	case events.MarathonPut:
		ids = t.state.Of(ev.Marathon.Framework)
	case events.SettingsPut:
		for _, e := range t.state.Endpoints() {
			ids = append(ids, e.ID)
		}
	case events.PolicyApply, events.EndpointState:
		for id, e := range t.mine {
			if !e.Address.IsValid() && !t.ended[id] {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// endpoint tells what became of an endpoint: an address, none, its end.
func (t *Teller) endpoint(before, after *scheduler.EndpointView) {
	was := t.is(before)
	if !t.keep(after) {
		if !was {
			return
		}
		if t.mine[before.ID] = *before; after.ID == "" {
			t.ended[before.ID] = true
		} else {
			delete(t.mine, before.ID) // it is another app's now
		}
		return
	}
	switch {
	case after.Address.IsValid() && after.Address != before.Address:
		t.say("addressed", after, "got "+after.Address.String())
	case !after.Address.IsValid() && after.Problem != "" && after.Problem != before.Problem:
		t.say("no address", after, after.Problem)
	}
	if was && after.Posture != before.Posture && t.entry.Event.Kind != events.PolicyApply {
		t.say("policies", after, "other policies apply: "+t.policies(before.Posture, after.Posture))
	}
}

// say adds an event of the entry that is being told.
func (t *Teller) say(kind string, e *scheduler.EndpointView, text string) *Event {
	ev := Event{Time: t.entry.Event.Received, Seq: t.entry.Seq, Kind: kind, Text: text}
	if e != nil {
		ev.App, ev.Task, ev.Host = e.App, e.Task, e.Host
	}
	t.out = append(t.out, ev)
	return &t.out[len(t.out)-1]
}

// Tell tells a story up to the first error: the log's entries from the one
// after the state on, and the hosts' reports, in the order of their times. Of
// what lies outside the window, where a zero time does not limit, nothing is
// told. Who had an address is who had it when the report was made, or, by a
// host whose clock is ahead, when it was stored.
func (t *Teller) Tell(log iter.Seq2[events.Entry, error], reports iter.Seq2[work.StoredReport, error], from, to time.Time) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		next, stop := iter.Pull2(reports)
		defer stop()
		report, failure, more := next()
		pass := func(list []Event) bool {
			for _, e := range list {
				if (e.Time.Before(from) || !to.IsZero() && e.Time.After(to)) && (e.Kind != Unreadable || e.Host != "") {
					continue
				}
				if !yield(e, nil) {
					return false
				}
			}
			return true
		}
		until := func(end time.Time) bool { // tells the reports before end; zero: all
			for more && failure == nil && (end.IsZero() || made(&report).Before(end)) {
				if !pass(t.Report(report)) {
					return false
				}
				report, failure, more = next()
			}
			if more && failure != nil {
				yield(Event{}, failure)
				return false
			}
			return true
		}
		for e, err := range log {
			if err != nil {
				yield(Event{}, err)
				return
			}
			if !to.IsZero() && e.Event.Received.After(to.Add(Disorder)) {
				break
			}
			if !until(e.Event.Received) || !pass(t.Entry(e)) {
				return
			}
		}
		if to.IsZero() {
			until(to)
		} else {
			until(to.Add(time.Nanosecond))
		}
	}
}

// Disorder is how much earlier or later than its neighbours in the log an entry
// can have been received: several sources append.
const Disorder = time.Minute

// made is when a report was made, as far as it can be believed.
func made(r *work.StoredReport) time.Time {
	if r.Err != nil || r.Stored.Before(r.Time) {
		return r.Stored
	}
	return r.Time
}
