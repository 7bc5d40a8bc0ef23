// Package historytest writes long histories as a cluster makes them, for tests
// and benchmarks: deployments, scalings, failures, changes of policy, lost and
// drained hosts, sessions of BGP, and what the hosts report. Some apps are pods. Equal options give equal histories.
package historytest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/history"
)

// Options say what happens.
type Options struct {
	Seed   uint64
	Events uint64
	// Hosts and Apps are the size of the cluster; an app has Instances tasks,
	// or some more or less; zero: 4.
	Hosts, Apps, Instances int
	// Calm is the most time between two happenings; zero: 30 s.
	Calm time.Duration
	// FrameEvery ends the frames of the copy each so many events, for small
	// ones; zero: when they are full.
	FrameEvery uint64
	// Progress, which may be nil, is called now and then.
	Progress func(events uint64)
}

// Written counts what was written.
type Written struct {
	Events, Items, Reports, Tasks int
	State                         *scheduler.State // at the end
}

var key = func() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("a history for tests"))
	return ed25519.NewKeyFromSeed(seed[:])
}()

// Trust is the key that signs the checkpoints of every history.
var Trust = key.Public().(ed25519.PublicKey)

// Begin is when every history begins.
var Begin = time.Date(2025, 1, 1, 6, 0, 0, 0, time.UTC)

const (
	framework   = "a7c1f0de-6f0e-4a3b-9d75-5d2a8f7f3c11-0000"
	signEvery   = 10_000
	digestEvery = 16 // items of a host per digest in its answers
	syncEvery   = 250_000
	writer      = "kRz2Qw0nGm5cVbY1xTt8Lp"
)

// errEnd says that enough has happened.
var errEnd = errors.New("all events are written")

// past is a history that is being written.
type past struct {
	o     Options
	ctx   context.Context //nolint:containedctx // of the one call that it lives in
	w     *history.Writer
	rnd   *rand.Rand
	now   time.Time
	state *scheduler.State
	told  map[string]*work.State

	link    eventlog.Hash
	seq     uint64
	items   uint64
	reports uint64
	marked  eventlog.ReportsMark
	signed  uint64
	commits int

	hosts []*host
	apps  []*app
}

// ErrWritten means that a directory holds a history already.
var ErrWritten = errors.New("there is a history already")

// Write writes a history as a copy into a new directory. A history in it of as
// many events is ErrWritten.
func Write(ctx context.Context, dir string, o Options) (out Written, err error) {
	if o.Instances == 0 {
		o.Instances = 4
	}
	if o.Calm == 0 {
		o.Calm = 30 * time.Second
	}
	if err := written(ctx, dir, o.Events); err != nil {
		return out, err
	}
	w, err := history.Create(dir)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	p := &past{
		o: o, ctx: ctx, w: w, rnd: rand.New(rand.NewPCG(o.Seed, 7)), now: Begin, //nolint:gosec // not for secrets
		state: scheduler.NewState(), told: map[string]*work.State{},
		marked: eventlog.ReportsMark{First: 1},
	}
	err = p.begin()
	for err == nil {
		err = p.something()
	}
	if !errors.Is(err, errEnd) {
		return out, err
	}
	if err := p.sign(); err != nil {
		return out, err
	}
	for _, a := range p.apps {
		out.Tasks += len(a.tasks)
	}
	out.Events, out.Items, out.Reports, out.State = int(p.seq), int(p.items), int(p.reports), p.state //nolint:gosec // counts
	return out, nil
}

// written looks for a history that is there already.
func written(ctx context.Context, dir string, events uint64) error {
	if _, err := os.Stat(filepath.Join(dir, "copy.json")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	h, err := history.Open(dir)
	if err != nil {
		return err
	}
	defer h.Close() //nolint:errcheck // only read
	b, err := h.Bounds(ctx)
	if err == nil && b.Last == events {
		err = ErrWritten
	} else if err == nil {
		err = fmt.Errorf("the history in %s has %d events, not %d: remove it", dir, b.Last, events)
	}
	return err
}

// pass lets up to so much time go by.
func (p *past) pass(most time.Duration) {
	p.now = p.now.Add(1 + time.Duration(p.rnd.Int64N(int64(most))))
}

// say appends an event, publishes what follows, and lets the hosts answer.
func (p *past) say(ev events.Event) error {
	if p.seq == p.o.Events {
		return errEnd
	}
	p.seq++
	p.pass(40 * time.Millisecond)
	ev.Schema, ev.Time, ev.Received = events.Schema, p.now.Add(-3*time.Millisecond), p.now
	if p.rnd.IntN(20) == 0 { // another source was faster
		ev.Received = p.now.Add(-time.Duration(p.rnd.IntN(30)) * time.Millisecond)
	}
	if ev.ID == "" {
		ev.ID = fmt.Sprintf("%s-%x", ev.Kind, p.rnd.Uint64())
	}
	data, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	r := &eventlog.Record{Seq: p.seq, Prev: p.link, Epoch: 1, Writer: writer, Data: data}
	p.link = r.Hash()
	if err := p.w.Record(r, ev.Received); err != nil {
		return err
	}
	for _, it := range p.state.Apply(events.Entry{Seq: p.seq, Event: ev}) {
		if err := p.publish(it); err != nil {
			return err
		}
	}
	if p.seq%signEvery == 0 {
		if err := p.sign(); err != nil {
			return err
		}
	}
	if p.o.FrameEvery > 0 && p.seq%p.o.FrameEvery == 0 {
		if err := p.w.Flush(); err != nil {
			return err
		}
	}
	if p.seq%syncEvery == 0 {
		if err := p.w.Sync(); err != nil {
			return err
		}
		if p.o.Progress != nil {
			p.o.Progress(p.seq)
		}
	}
	return p.ctx.Err()
}

func (p *past) publish(it *work.Item) error {
	data, err := json.Marshal(it)
	if err != nil {
		return err
	}
	p.items++
	if err := p.w.Item(p.items, p.now.Add(time.Millisecond), it.Host, 1, it.Cause, data); err != nil {
		return err
	}
	told := p.told[it.Host]
	if told == nil {
		told = work.NewState()
		p.told[it.Host] = told
	}
	if err := told.Apply(it); err != nil {
		return err
	}
	answer := work.Report{Applied: &work.Applied{Rev: it.Rev, Took: time.Duration(200+p.rnd.IntN(3000)) * time.Microsecond}}
	if it.Rev%digestEvery == 0 {
		answer.Applied.Digest = told.Digest()
	}
	_, err = p.report(it.Host, answer)
	return err
}

// report stores a report and gives its place and id.
func (p *past) report(host string, r work.Report) (id string, err error) {
	p.reports++
	r.ID, r.Host, r.Time = fmt.Sprintf("r%x", p.reports), host, p.now.Add(2*time.Millisecond)
	data, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	stored := p.now.Add(3 * time.Millisecond)
	p.marked = p.marked.Next(p.reports, stored, host, data)
	return r.ID, p.w.Report(p.reports, stored, host, data)
}

// heard stores a report of an agent and appends the event that it becomes.
func (p *past) heard(host string, r work.Report, ev events.Event) error {
	if p.seq == p.o.Events {
		return errEnd
	}
	p.pass(5 * time.Millisecond)
	id, err := p.report(host, r)
	if err != nil {
		return err
	}
	ev.ID, ev.Source = "report-"+id, "agent/"+host
	p.pass(5 * time.Millisecond)
	return p.say(ev)
}

func (p *past) join(host, address string) error {
	j := events.Join{Host: host, Address: address, Version: "1.4.0", Reason: "started"}
	said := j
	said.Report = p.reports + 1
	return p.heard(host, work.Report{Join: &j}, events.Event{Kind: events.AgentJoin, Join: &said})
}

func (p *past) wired(t *task, state events.WiringState) error {
	w := events.Wiring{Host: t.host.name, Endpoint: t.endpoint(), State: state, Took: time.Duration(p.rnd.IntN(8_000_000))}
	said := w
	said.Report = p.reports + 1
	return p.heard(t.host.name, work.Report{Wiring: &w}, events.Event{Kind: events.EndpointState, Wiring: &said})
}

func (p *past) sign() error {
	reports := p.marked
	c := eventlog.Sign(key, eventlog.Checkpoint{Seq: p.seq, Hash: p.link, Reports: &reports, Time: p.now})
	data, err := json.Marshal(c)
	if err != nil || p.seq == p.signed {
		return err
	}
	p.signed = p.seq
	return p.w.Checkpoint((p.seq+signEvery-1)/signEvery, p.now, data)
}
