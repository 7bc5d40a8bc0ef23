package firewall

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/taskwall/taskwall/agent/ipset"
	"github.com/taskwall/taskwall/events/work"
)

// Config says how to program the host.
type Config struct {
	// Backend is the iptables variant; "" is Auto.
	Backend Backend
	// HostPorts are the TCP ports of the host that its tasks may always reach.
	HostPorts []uint16
	Logger    *slog.Logger
}

// Firewall programs one host. Sets must be there before the programs that
// refer to them, programs before the endpoints; removal goes in reverse.
//
// Its methods may be called by several goroutines: Wire and Unwire do not wait
// for an iptables-restore that another call runs.
type Firewall struct {
	tools *tools
	log   *slog.Logger
	ipv6  bool // the kernel has IPv6 at all

	rulesMu  sync.Mutex // guards what follows, and a restore
	filter   *table
	mangle   *table
	filter6  *table
	programs map[string]*posture
	shared   map[string]int // how many programs want a chain
	sets     map[string]work.SetType
	bulk     *ipset.Conn
	writes   uint64            // calls so far that changed rules or sets
	sums     map[string]sum    // of what each set should hold, by its name, where it is known
	wroteSet map[string]uint64 // the last of them that changed a set, by its name
	alone    bool              // nothing of the other iptables backend is left
	drafts   map[string]draft  // programs rendered ahead of compile, by ID
	inherits map[string]string // postures being written that take another's number: whose

	lookMu sync.Mutex // guards reader
	reader *ipset.Conn

	reasonsMu sync.Mutex
	reasons   map[string]Reason // by tag

	wiresMu  sync.Mutex // guards what follows
	postures *postures
	ready    map[string]bool   // postures whose chains are in the kernel
	heirs    map[string]string // postures that went while endpoints had them: who has their place
	quick    *ipset.Conn
}

type posture struct {
	program work.Program
	chains  chains
	failed  error
	refused bool // by the kernel, though we saw nothing wrong
}

// Open detects the host's iptables and connects to the kernel's sets, in the
// calling thread's network namespace. It changes nothing: the first Sync does.
func Open(ctx context.Context, cfg Config) (*Firewall, error) {
	t, err := detect(ctx, cfg.Backend)
	if err != nil {
		return nil, err
	}
	bulk, err := ipset.Dial()
	if err != nil {
		return nil, err
	}
	quick, err := ipset.Dial()
	if err != nil {
		bulk.Close()
		return nil, err
	}
	reader, err := ipset.Dial()
	if err != nil {
		bulk.Close()
		quick.Close()
		return nil, err
	}
	log := cfg.Logger
	if log == nil {
		log = slog.Default()
	}
	log.Info("iptables backend chosen", "backend", t.backend, "because", t.reason)
	_, err = os.Stat("/proc/net/if_inet6")
	return &Firewall{
		tools: t, log: log, ipv6: err == nil, bulk: bulk, quick: quick, reader: reader,
		filter:   newTable("filter", filterBase(cfg.HostPorts)),
		mangle:   newTable("mangle", mangleBase()),
		filter6:  newTable("filter", filterBase6()),
		programs: map[string]*posture{}, shared: map[string]int{}, sets: map[string]work.SetType{}, wroteSet: map[string]uint64{}, sums: map[string]sum{},
		postures: newPostures(), ready: map[string]bool{}, reasons: map[string]Reason{},
	}, nil
}

// Close lets go of the kernel connections; everything programmed stays.
func (f *Firewall) Close() error {
	f.quick.Close()
	f.reader.Close()
	return f.bulk.Close()
}

// flush brings the kernel's IPv4 tables to what is wanted. The filter comes first:
// until the marks come, it is closed.
func (f *Firewall) flush(ctx context.Context) error {
	return f.write(ctx, f.writes, 4, f.filter, f.mangle)
}

// flush6 is flush for IPv6, whose rules no program changes, in the Firewall's nth
// write. It may run beside what writes sets, but not beside flush: two programs that
// wait for each other's xtables lock take longer.
func (f *Firewall) flush6(ctx context.Context, n uint64) error {
	if !f.ipv6 {
		return nil
	}
	if err := f.write(ctx, n, 6, f.filter6); err != nil {
		return fmt.Errorf("closing IPv6: %w", err)
	}
	return nil
}

// write brings tables of a family to what is wanted, in the Firewall's nth write.
func (f *Firewall) write(ctx context.Context, n uint64, family int, tables ...*table) error {
	if !slices.ContainsFunc(tables, (*table).differs) {
		return nil
	}
	err := f.tools.restore(ctx, family, func() string {
		var patch strings.Builder
		for _, t := range tables {
			t.patch(&patch)
			t.stamp(n)
		}
		return patch.String()
	})
	if err != nil {
		return err
	}
	for _, t := range tables {
		t.wrote()
	}
	return nil
}

// about says which policies a posture stands for.
func (f *Firewall) about(id string) string {
	p := f.programs[id]
	if p == nil {
		return "?"
	}
	if len(p.program.Policies) == 0 {
		return "no policies"
	}
	return strings.Join(p.program.Policies, ", ")
}

// replant renders the dispatch trees anew. A number that is taken but has no
// program leads nowhere: closed.
func (f *Firewall) replant() {
	used := make(map[uint16]string, len(f.programs))
	for id := range f.programs {
		if n, ok := f.postures.index[cmp.Or(f.inherits[id], id)]; ok {
			used[n] = id
		}
	}
	for _, d := range []direction{egress, ingress} {
		tree := d.tree(used, f.about)
		for name := range f.filter.want {
			if _, ok := tree[name]; !ok && (name == d.name || strings.HasPrefix(name, d.name+"-")) {
				f.filter.drop(name)
			}
		}
		for name, rs := range tree {
			f.filter.put(name, rs)
		}
	}
}

// stage makes the table want a posture's chains instead of those it had; nil
// for none.
func (f *Firewall) stage(id string, p *posture) {
	if old := f.programs[id]; old != nil {
		for name := range old.chains {
			if f.shared[name]--; f.shared[name] == 0 {
				delete(f.shared, name)
				f.filter.drop(name)
			}
		}
		delete(f.programs, id)
	}
	if p == nil {
		return
	}
	for name, rs := range p.chains {
		f.shared[name]++
		f.filter.put(name, rs)
	}
	f.programs[id] = p
}

// compile renders a program, or the stand-in that closes it, with the reason.
func (f *Firewall) compile(p work.Program) *posture {
	if !named(p.ID, maxPostureID) {
		return closed(p, fmt.Errorf("posture %q: that is no name of one: %w", p.ID, ErrRule))
	}
	for _, id := range p.SetIDs() {
		if _, ok := f.sets[id]; !ok {
			return closed(p, fmt.Errorf("set %s is not on the host: %w", id, ErrRule))
		}
	}
	d, ok := f.drafts[p.ID]
	if !ok {
		d = render(&p)
	}
	if d.err != nil {
		return closed(p, d.err)
	}
	f.note(&p)
	return &posture{program: p, chains: d.chains}
}

// draft is a program as rendered, whether or not the host has its sets.
type draft struct {
	chains chains
	err    error
}

func render(p *work.Program) draft {
	cs, err := program(p)
	return draft{cs, err}
}

// Drafts are programs as rendered by a goroutine of its own.
type Drafts struct {
	done chan struct{}
	by   map[string]draft // by ID; once done is closed
}

// Draft renders the programs of a Picture ahead of its Sync, which needs them all
// when it is the process's first. They must not change until it returns.
func Draft(programs []work.Program) *Drafts {
	d := &Drafts{done: make(chan struct{}), by: make(map[string]draft, len(programs))}
	go func() {
		defer close(d.done)
		for i := range programs {
			d.by[programs[i].ID] = render(&programs[i])
		}
	}()
	return d
}

func (d *Drafts) wait() map[string]draft {
	if d == nil {
		return nil
	}
	<-d.done
	return d.by
}

// closed is a program that is not in force. One whose name is none has no chain
// either, and no number: its endpoints have number 0.
func closed(p work.Program, why error) *posture {
	c := &posture{program: p, failed: why}
	if named(p.ID, maxPostureID) {
		c.chains = standIn(p.ID, why)
	}
	return c
}
