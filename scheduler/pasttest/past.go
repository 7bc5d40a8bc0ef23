// Package pasttest makes small pasts for tests: a log with its chain, the work
// items that follow from it, and the reports of hosts that applied them.
package pasttest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
)

// Past is what is stored of a past. A test may change it.
type Past struct {
	Log    []*eventlog.Record
	Signed []eventlog.Checkpoint
	Sent   []work.Stored
	Said   []work.StoredReport
	// Snapshots are states, by the last record that they hold.
	Snapshots map[uint64][]byte

	// Now is the time of the next event. Silent hosts do not answer.
	Now    time.Time
	Silent map[string]bool

	t     T
	state *scheduler.State
	saved *eventlog.StateMark // of the last snapshot, until it is signed
	hosts map[string]*work.State
	link  eventlog.Hash
	seq   uint64 // of the WORK stream
}

// T is what is needed of a testing.T.
type T interface {
	Helper()
	Fatal(args ...any)
}

// Begin is when every past begins.
var Begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// New is a past in which nothing has happened yet.
func New(t T) *Past {
	return &Past{
		Now: Begin, Silent: map[string]bool{}, t: t,
		state: scheduler.NewState(), hosts: map[string]*work.State{},
	}
}

// Key signs the checkpoints of every past; its public half is Trust.
var Key = KeyOf("past")

// Trust is the key to trust.
var Trust = Key.Public().(ed25519.PublicKey)

// KeyOf is a key made of a name.
func KeyOf(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// Say appends an event, publishes its items, and lets their hosts answer, each
// a second after the other.
func (p *Past) Say(ev events.Event) {
	p.t.Helper()
	seq := uint64(len(p.Log) + 1)
	if ev.Schema, ev.Time, ev.Received = events.Schema, p.Now, p.Now; ev.ID == "" {
		ev.ID = fmt.Sprint("e", seq)
	}
	if ev.Source == "" {
		ev.Source = "test"
	}
	data, err := json.Marshal(ev)
	if err != nil {
		p.t.Fatal(err)
	}
	r := &eventlog.Record{Seq: seq, Prev: p.link, Epoch: 1, Writer: "w", Data: data}
	p.link = r.Hash()
	p.Log = append(p.Log, r)
	entry, err := r.Entry()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, it := range p.state.Apply(entry) {
		p.seq++
		data, err := json.Marshal(it)
		if err != nil {
			p.t.Fatal(err)
		}
		p.Sent = append(p.Sent, work.Stored{Key: it.Key(), Data: data, Seq: p.seq, Epoch: 1, Time: p.Now.Add(time.Millisecond)})
		if p.Silent[it.Host] {
			continue
		}
		if p.hosts[it.Host] == nil {
			p.hosts[it.Host] = work.NewState()
		}
		if err := p.hosts[it.Host].Apply(it); err != nil && !errors.Is(err, work.ErrGap) {
			p.t.Fatal(err)
		}
		p.Report(work.Report{Host: it.Host, Applied: &work.Applied{Rev: it.Rev, Took: time.Millisecond, Digest: p.hosts[it.Host].Digest()}})
	}
	p.Now = p.Now.Add(time.Second)
}

// Report stores a report.
func (p *Past) Report(r work.Report) uint64 {
	r.Seq = uint64(len(p.Said) + 1)
	r.ID, r.Time = fmt.Sprint("r", r.Seq), p.Now
	p.Said = append(p.Said, work.StoredReport{Report: r, Stored: p.Now.Add(2 * time.Millisecond)})
	return r.Seq
}

// Checkpoint signs the log as it is.
func (p *Past) Checkpoint() {
	reports := &eventlog.ReportsMark{First: 1}
	for _, r := range p.stored() {
		*reports = reports.Next(r.Seq, r.Stored, r.Host, r.Data)
	}
	p.Signed = append(p.Signed, eventlog.Sign(Key, eventlog.Checkpoint{Seq: uint64(len(p.Log)), Hash: p.link, Reports: reports, State: p.saved, Time: p.Now}))
	p.saved = nil
}

// stored are the reports with their bytes, which those that a test altered have
// anew.
func (p *Past) stored() []work.StoredReport {
	all := slices.Clone(p.Said)
	for i := range all {
		data, err := json.Marshal(all[i].Report)
		if err != nil {
			p.t.Fatal(err)
		}
		all[i].Data = data
	}
	return all
}

// Host adds a machine whose agent joins.
func (p *Past) Host(name, address string) {
	p.t.Helper()
	p.Say(events.Event{Kind: events.HostPut, Host: &events.Host{Agent: "agent-" + name, Name: name, Address: address, Reachable: true}})
	p.Join(name, address)
}

// Join lets a host's agent ask for its picture.
func (p *Past) Join(name, address string) {
	p.t.Helper()
	j := events.Join{Host: name, Address: address}
	place := p.Report(work.Report{Host: name, Join: &j})
	said := j
	said.Report = place
	p.Say(events.Event{ID: fmt.Sprint("report-r", place), Kind: events.AgentJoin, Source: "agent/" + name, Join: &said})
}

// Task puts a task of an app into a state.
func (p *Past) Task(id, app, host, state string, labels map[string]string) {
	p.t.Helper()
	p.Say(events.Event{Kind: events.TaskPut, Task: &events.Task{
		Framework: "marathon", ID: id, Executor: id, Name: app, Agent: "agent-" + host, State: state, Containerizer: "mesos",
		Networks: []events.Network{{Name: "taskwall"}}, Labels: labels,
	}})
}

// Policy applies resources, given as JSON.
func (p *Past) Policy(author string, texts ...string) {
	p.t.Helper()
	change := &events.PolicyChange{Author: author, Commit: "4f2c9e1"}
	for _, text := range texts {
		change.Put = append(change.Put, Resource(p.t, text))
	}
	p.Say(events.Event{Kind: events.PolicyApply, Policy: change})
}

// Resource is a policy resource given as JSON.
func Resource(t T, text string) events.Resource {
	t.Helper()
	var head struct {
		Kind     string
		Metadata struct{ Name, Namespace string }
	}
	if err := json.Unmarshal([]byte(text), &head); err != nil {
		t.Fatal(err)
	}
	return events.Resource{
		ResourceKey: events.ResourceKey{Kind: head.Kind, Namespace: head.Metadata.Namespace, Name: head.Metadata.Name},
		Body:        json.RawMessage(text),
	}
}

// State is what the log adds up to.
func (p *Past) State() *scheduler.State { return p.state }

// Policies that let web use db, both ways round, and the pool for their tasks.
const (
	Pool    = `{"apiVersion":"projectcalico.org/v3","kind":"IPPool","metadata":{"name":"main"},"spec":{"cidr":"10.8.0.0/24","blockSize":28}}`
	WebToDB = `{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy","metadata":{"name":"web"},"spec":{` +
		`"selector":"app == 'web'","types":["Egress"],"egress":[{"action":"Allow","protocol":"TCP","destination":{"selector":"app == 'db'","ports":[5432]}}]}}`
	DBFromWeb = `{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy","metadata":{"name":"db"},"spec":{` +
		`"selector":"app == 'db'","types":["Ingress"],"ingress":[{"action":"Allow","protocol":"TCP","source":{"selector":"app == 'web'"},"destination":{"ports":[5432]}}]}}`
)

// Shop is a past of two hosts, on which web comes to use db, and then ends.
// It is signed at its end.
func Shop(t T) *Past {
	t.Helper()
	p := New(t)
	p.Say(events.Event{Kind: events.FrameworkPut, Framework: &events.Framework{ID: "marathon", Name: "marathon", Active: true, Connected: true}})
	p.Policy("ann", Pool, WebToDB, DBFromWeb)
	p.Host("h1", "192.168.50.1")
	p.Host("h2", "192.168.50.2")
	p.Task("db.1", "db", "h1", "TASK_RUNNING", map[string]string{"app": "db"})
	p.Task("web.1", "web", "h2", "TASK_RUNNING", map[string]string{"app": "web"})
	p.Now = p.Now.Add(time.Hour)
	p.Task("web.2", "web", "h2", "TASK_RUNNING", map[string]string{"app": "web"})
	p.Now = p.Now.Add(time.Hour)
	p.Task("web.1", "web", "h2", "TASK_FINISHED", map[string]string{"app": "web"})
	p.Checkpoint()
	return p
}

// Checkpoints are those of the log. With Records, Items, Reports and
// Start they make a Past a source.
func (p *Past) Checkpoints(context.Context) ([]eventlog.Checkpoint, error) { return p.Signed, nil }

// Records are the log from a sequence on, as a reader makes them of what is
// stored: what a test altered since an earlier reading is read as altered.
func (p *Past) Records(_ context.Context, from uint64) iter.Seq2[*eventlog.Record, error] {
	var fresh []*eventlog.Record
	for _, r := range p.Log {
		fresh = append(fresh, &eventlog.Record{Seq: r.Seq, Prev: r.Prev, Epoch: r.Epoch, Writer: r.Writer, Data: r.Data, Err: r.Err})
	}
	return list(fresh, func(r *eventlog.Record) bool { return r.Seq >= from })
}

// Item is one that was published, to be altered.
func Item(t T, st *work.Stored) *work.Item {
	t.Helper()
	it, err := st.Item()
	if err != nil {
		t.Fatal(err)
	}
	return it
}

// Alter makes another item of one that was published.
func Alter(t T, st *work.Stored, how func(*work.Item)) {
	t.Helper()
	it := Item(t, st)
	how(it)
	data, err := json.Marshal(it)
	if err != nil {
		t.Fatal(err)
	}
	st.Key, st.Data = it.Key(), data
}

// Items are those published from a place on.
func (p *Past) Items(_ context.Context, from uint64) iter.Seq2[work.Stored, error] {
	return list(p.Sent, func(s work.Stored) bool { return s.Seq >= from })
}

// Reports are those stored from a place on.
func (p *Past) Reports(_ context.Context, from uint64) iter.Seq2[work.StoredReport, error] {
	return list(p.stored(), func(r work.StoredReport) bool { return r.Seq >= from })
}

// Start is the state after the first of Snapshots from which a log can be folded
// that begins with a record.
func (p *Past) Start(_ context.Context, first uint64) (*scheduler.State, error) {
	for _, at := range slices.Sorted(maps.Keys(p.Snapshots)) {
		if at+1 >= first {
			s := scheduler.NewState()
			return s, s.UnmarshalBinary(p.Snapshots[at])
		}
	}
	return nil, eventlog.ErrGone
}

// CheckSnapshots finds nothing: tests that change snapshots have others.
func (p *Past) CheckSnapshots(context.Context, *eventlog.States) ([]eventlog.Problem, error) {
	return nil, nil
}

// Snapshot keeps the state as it is; the next checkpoint signs it, too.
func (p *Past) Snapshot() {
	data, err := p.state.MarshalBinary()
	if err != nil {
		p.t.Fatal(err)
	}
	mark := eventlog.MarkState(p.state.Seq(), data)
	p.saved = &mark
	if p.Snapshots == nil {
		p.Snapshots = map[uint64][]byte{}
	}
	p.Snapshots[p.state.Seq()] = data
}

func list[T any](all []T, wanted func(T) bool) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for i := range all {
			if wanted(all[i]) && !yield(all[i], nil) {
				return
			}
		}
	}
}
