package scheduler

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/taskwall/taskwall/events"
)

// A binary snapshot is a line that says what it is, the length of what is small
// or rare, that part in JSON, and the large tables: tasks, endpoints, blocks. It
// is read faster than JSON: strings and label sets are in it once.
const (
	binaryMagic = "taskwall-state "
	// binaryVersion is raised when the tables change, or the JSON (then with
	// snapshotVersion).
	binaryVersion = "4"

	// SnapshotForm is the first line of a binary snapshot. Equal states have equal
	// bytes in one form, so whatever changes those bytes raises its number.
	SnapshotForm = binaryMagic + binaryVersion
	// worded is the form before: it has the words of a refusal in it.
	worded = binaryMagic + "3"

	// The least bytes of a row: one a field, and one more of a time.
	leastTask, leastEndpoint, leastBlock = 19, 16, 6
)

// ErrForm means that a state cannot be written in a form.
var ErrForm = errors.New("this program cannot make it in that form")

// MarshalBinary writes the state as a snapshot. Equal states give equal bytes.
func (s *State) MarshalBinary() ([]byte, error) { return s.MarshalForm(SnapshotForm) }

// MakesForm tells whether states can be written in a form.
func MakesForm(form string) bool { return form == SnapshotForm || form == worded }

// MarshalForm is MarshalBinary in SnapshotForm or in the form before it, to
// compare the state with what was signed then. Of a form that it cannot make the
// error is ErrForm.
func (s *State) MarshalForm(form string) ([]byte, error) {
	if !MakesForm(form) || form == worded && s.refusal != nil && s.refusal.Error == "" {
		return nil, fmt.Errorf("writing a snapshot of the state in the form %q: %w", form, ErrForm)
	}
	snap := s.atRest(form)
	w := newTableWriter()
	err := snap.tables(w)
	if err != nil {
		return nil, fmt.Errorf("writing a snapshot of the state: %w", err)
	}
	cluster := *snap.Cluster
	cluster.Tasks = nil
	snap.Cluster, snap.Endpoints, snap.Blocks = &cluster, nil, nil
	rest, err := json.Marshal(snap)
	if err != nil {
		return nil, fmt.Errorf("writing a snapshot of the state: %w", err)
	}
	out := fmt.Appendf(nil, "%s\n", form)
	out = binary.AppendUvarint(out, uint64(len(rest)))
	return append(append(out, rest...), w.bytes()...), nil
}

// UnmarshalBinary makes the state equal to the one that the snapshot was taken
// of; also one in JSON, as they were before. On an error, which another version
// is, the state is as new.
func (s *State) UnmarshalBinary(data []byte) error {
	if bytes.HasPrefix(data, []byte("{")) {
		return s.UnmarshalJSON(data)
	}
	*s = *NewState()
	head, _, line := bytes.Cut(data[:min(len(data), 64)], []byte("\n"))
	version, ok := bytes.CutPrefix(head, []byte(binaryMagic))
	if !ok || !line {
		return errors.New("reading a snapshot of the state: it is none")
	}
	if !MakesForm(string(head)) {
		return fmt.Errorf("reading a snapshot of the state: it has version %.20q, this program reads %s: it takes the one that wrote it, or one as new", version, binaryVersion)
	}
	body := data[len(head)+1:]
	n, size := binary.Uvarint(body)
	if size <= 0 || n > uint64(len(body)-size) {
		return fmt.Errorf("reading a snapshot of the state: %w", errTables)
	}
	rest, tables := body[size:size+int(n)], body[size+int(n):] //nolint:gosec // bounded
	snap := snapshot{Cluster: events.NewCluster()}
	read := make(chan error, 1)
	go func() { read <- json.Unmarshal(rest, &snap) }() // beside the tables
	large := snapshot{Cluster: &events.Cluster{}}
	r := newTableReader(tables)
	large.readTables(r)
	if r.err == nil && len(r.rest) > 0 {
		r.fail()
	}
	if err := <-read; err != nil {
		return fmt.Errorf("reading a snapshot of the state: %w", err)
	}
	if r.err != nil {
		return fmt.Errorf("reading a snapshot of the state: %w", r.err)
	}
	if snap.Cluster == nil {
		return errNotWhole
	}
	snap.Cluster.Tasks, snap.Endpoints, snap.Blocks = large.Cluster.Tasks, large.Endpoints, large.Blocks
	if err := snap.nest(); err != nil {
		return fmt.Errorf("reading a snapshot of the state: %w", err)
	}
	return s.restore(&snap)
}

// nest brings what Nested says to the tasks.
func (snap *snapshot) nest() error {
	for key, networks := range snap.Nested {
		t, known := snap.Cluster.Tasks[key]
		if !known {
			return errTables
		}
		t.Nested, t.ExecutorNetworks = true, networks
		snap.Cluster.Tasks[key] = t
	}
	return nil
}

func (snap *snapshot) tables(w *tableWriter) error {
	w.len(len(snap.Cluster.Tasks))
	for _, key := range events.SortedKeys(snap.Cluster.Tasks) {
		t := snap.Cluster.Tasks[key]
		if err := w.task(key, t); err != nil {
			return fmt.Errorf("task %s: %w", key, err)
		}
		if t.Nested {
			if snap.Nested == nil {
				snap.Nested = map[string][]events.Network{}
			}
			snap.Nested[key] = t.ExecutorNetworks
		}
	}
	w.len(len(snap.Endpoints))
	for i := range snap.Endpoints {
		if err := w.endpoint(&snap.Endpoints[i]); err != nil {
			return fmt.Errorf("endpoint %s: %w", snap.Endpoints[i].ID, err)
		}
	}
	w.len(len(snap.Blocks))
	for _, b := range snap.Blocks {
		if err := w.block(b); err != nil {
			return fmt.Errorf("block %s: %w", b.Prefix, err)
		}
	}
	return nil
}

func (snap *snapshot) readTables(r *tableReader) {
	n := r.len(leastTask)
	snap.Cluster.Tasks = make(map[string]events.Task, n)
	for range n {
		key, t := r.task()
		snap.Cluster.Tasks[key] = t
	}
	snap.Endpoints = make([]endpointAtRest, r.len(leastEndpoint))
	for i := range snap.Endpoints {
		r.endpoint(&snap.Endpoints[i])
	}
	snap.Blocks = make([]*block, r.len(leastBlock))
	for i := range snap.Blocks {
		snap.Blocks[i] = r.block()
	}
}

func (w *tableWriter) task(key string, t events.Task) error {
	w.text(key)
	w.text(t.Framework)
	w.text(t.ID)
	w.text(t.Name)
	w.text(t.Executor)
	w.text(t.Agent)
	w.text(t.State)
	w.text(t.Role)
	w.label(t.Labels)
	w.label(t.ExecutorLabels)
	w.text(t.Containerizer)
	w.text(t.Container)
	w.len(len(t.Networks))
	for _, n := range t.Networks {
		w.text(n.Name)
		w.label(n.Labels)
		w.texted(n.Addresses)
	}
	w.ports(t.Ports)
	healthy := uint64(0) // not known
	if t.Healthy != nil {
		if healthy = 1; *t.Healthy {
			healthy = 2
		}
	}
	w.uint(healthy)
	w.text(t.Reason)
	w.text(t.Message)
	return w.time(t.Since)
}

func (r *tableReader) task() (key string, t events.Task) {
	key = r.text()
	t = events.Task{
		Framework: r.text(), ID: r.text(), Name: r.text(), Executor: r.text(), Agent: r.text(), State: r.text(), Role: r.text(),
		Labels: r.label(), ExecutorLabels: r.label(), Containerizer: r.text(), Container: r.text(),
	}
	if n := r.len(3); n > 0 {
		t.Networks = make([]events.Network, n)
		for i := range t.Networks {
			t.Networks[i] = events.Network{Name: r.text(), Labels: r.label(), Addresses: r.texted()}
		}
	}
	t.Ports = r.ports()
	switch r.uint() {
	case 0:
	case 1:
		t.Healthy = new(bool)
	case 2:
		t.Healthy = new(true)
	default:
		r.fail()
	}
	t.Reason, t.Message, t.Since = r.text(), r.text(), r.time()
	return key, t
}

func (w *tableWriter) endpoint(e *endpointAtRest) error {
	w.text(e.ID)
	w.text(e.Host)
	w.text(e.Agent)
	w.text(e.Network)
	w.bool(e.Docker)
	w.text(e.App)
	w.text(e.Task)
	w.label(e.Labels)
	w.text(e.Environment)
	w.ports(e.Ports)
	w.addr(e.Address)
	w.text(e.Refused)
	w.text(string(e.Wiring))
	w.text(e.Failure)
	return w.time(e.Wired)
}

func (r *tableReader) endpoint(e *endpointAtRest) {
	*e = endpointAtRest{
		ID: r.text(), Host: r.text(), Agent: r.text(), Network: r.text(), Docker: r.bool(), App: r.text(), Task: r.text(),
		Labels: r.label(), Environment: r.text(), Ports: r.ports(), Address: r.addr(), Refused: r.text(),
		Wiring: events.WiringState(r.text()), Failure: r.text(), Wired: r.time(),
	}
}

func (w *tableWriter) block(b *block) error {
	w.prefix(b.Prefix)
	w.text(b.Pool)
	w.text(b.Host)
	w.addr(b.Next)
	w.len(len(b.Used))
	for _, a := range sortedAddrs(b.Used) {
		w.addr(a)
		w.text(b.Used[a])
	}
	w.len(len(b.Freed))
	for _, a := range sortedAddrs(b.Freed) {
		w.addr(a)
		if err := w.time(b.Freed[a]); err != nil {
			return err
		}
	}
	return nil
}

func (r *tableReader) block() *block {
	b := &block{Prefix: r.prefix(), Pool: r.text(), Host: r.text(), Next: r.addr()}
	n := r.len(2)
	b.Used = make(map[netip.Addr]string, n)
	for range n {
		a := r.addr()
		b.Used[a] = r.text()
	}
	n = r.len(2)
	b.Freed = make(map[netip.Addr]time.Time, n)
	for range n {
		a := r.addr()
		b.Freed[a] = r.time()
	}
	return b
}
