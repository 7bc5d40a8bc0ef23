package scheduler

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/taskwall/taskwall/events"
)

// tableWriter writes rows. Strings and sets of labels, which many rows share,
// are written once, in the order in which they were met first, and rows hold
// their numbers: equal rows give equal bytes.
type tableWriter struct {
	rows    []byte
	strings map[string]uint64
	texts   []string
	labels  map[string]uint64 // by their bytes
	sets    []byte            // of labels
}

func newTableWriter() *tableWriter {
	return &tableWriter{strings: map[string]uint64{}, labels: map[string]uint64{}}
}

// bytes are the shared parts and then the rows.
func (w *tableWriter) bytes() []byte {
	size := 0
	out := binary.AppendUvarint(nil, uint64(len(w.texts)))
	for _, s := range w.texts {
		out = binary.AppendUvarint(out, uint64(len(s)))
		size += len(s)
	}
	out = slices.Grow(out, size+len(w.sets)+len(w.rows)+binary.MaxVarintLen64)
	for _, s := range w.texts {
		out = append(out, s...)
	}
	out = binary.AppendUvarint(out, uint64(len(w.labels)))
	out = append(out, w.sets...)
	return append(out, w.rows...)
}

func (w *tableWriter) number(s string) uint64 {
	n, known := w.strings[s]
	if !known {
		n = uint64(len(w.texts))
		w.strings[s] = n
		w.texts = append(w.texts, s)
	}
	return n
}

func (w *tableWriter) uint(n uint64) { w.rows = binary.AppendUvarint(w.rows, n) }
func (w *tableWriter) int(n int)     { w.rows = binary.AppendVarint(w.rows, int64(n)) }
func (w *tableWriter) len(n int)     { w.uint(uint64(n)) } //nolint:gosec // not negative
func (w *tableWriter) text(s string) { w.uint(w.number(s)) }

func (w *tableWriter) bool(b bool) {
	n := byte(0)
	if b {
		n = 1
	}
	w.rows = append(w.rows, n)
}

func (w *tableWriter) texted(list []string) {
	w.len(len(list))
	for _, s := range list {
		w.text(s)
	}
}

func (w *tableWriter) label(set map[string]string) {
	row := binary.AppendUvarint(make([]byte, 0, 4+8*len(set)), uint64(len(set)))
	for _, k := range events.SortedKeys(set) {
		row = binary.AppendUvarint(row, w.number(k))
		row = binary.AppendUvarint(row, w.number(set[k]))
	}
	n, known := w.labels[string(row)]
	if !known {
		n = uint64(len(w.labels))
		w.labels[string(row)] = n
		w.sets = append(w.sets, row...)
	}
	w.uint(n)
}

func (w *tableWriter) time(t time.Time) error {
	b, err := t.MarshalBinary()
	if err == nil {
		w.rows = append(append(w.rows, byte(len(b))), b...)
	}
	return err
}

func (w *tableWriter) addr(a netip.Addr) {
	b, _ := a.MarshalBinary() // never fails
	w.rows = append(append(w.rows, byte(len(b))), b...)
}

func (w *tableWriter) prefix(p netip.Prefix) {
	b, _ := p.MarshalBinary() // never fails
	w.rows = append(append(w.rows, byte(len(b))), b...)
}

func (w *tableWriter) ports(list []events.Port) {
	w.len(len(list))
	for _, p := range list {
		w.text(p.Name)
		w.int(p.Number)
		w.text(p.Protocol)
	}
}

var errTables = errors.New("it is cut off or altered")

// tableReader reads what tableWriter wrote, or says that it is no such thing:
// what it reads may be anything. What it makes is bounded by what it reads.
// After an error it gives zeros.
type tableReader struct {
	rest  []byte
	texts []string
	sets  []map[string]string
	err   error
}

// newTableReader reads the shared parts. Rows that share a set of labels then
// share the map.
func newTableReader(data []byte) *tableReader {
	r := &tableReader{rest: data}
	n := r.len(1)
	lengths := make([]int, n)
	total := 0
	for i := range lengths {
		size := r.uint()
		if size > uint64(len(data)) {
			r.fail()
			return r
		}
		lengths[i] = int(size) //nolint:gosec // bounded
		if total += lengths[i]; total > len(data) {
			r.fail()
			return r
		}
	}
	all := string(r.bytes(total))
	if r.err != nil {
		return r
	}
	r.texts = make([]string, n)
	for i, size := range lengths {
		r.texts[i], all = all[:size], all[size:]
	}
	r.sets = make([]map[string]string, r.len(1))
	for i := range r.sets {
		n := r.len(2)
		r.sets[i] = make(map[string]string, n)
		for range n {
			k := r.text()
			r.sets[i][k] = r.text()
		}
	}
	return r
}

func (r *tableReader) fail() {
	if r.err == nil {
		r.err = errTables
	}
	r.rest = nil
}

func (r *tableReader) uint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *tableReader) int() int {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return int(v)
}

// len is a number of things of which each takes so many bytes at least: what
// is made for them is then in proportion to what is there.
func (r *tableReader) len(least int) int {
	n := r.uint()
	if n > uint64(len(r.rest)/least) { //nolint:gosec // not negative
		r.fail()
		return 0
	}
	return int(n) //nolint:gosec // bounded
}

func (r *tableReader) bytes(n int) []byte {
	if n > len(r.rest) {
		r.fail()
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// short are the bytes after their number in one byte.
func (r *tableReader) short() []byte {
	n := r.bytes(1)
	if n == nil {
		return nil
	}
	return r.bytes(int(n[0]))
}

func (r *tableReader) bool() bool {
	b := r.bytes(1)
	if len(b) > 0 && b[0] > 1 {
		r.fail()
	}
	return len(b) > 0 && b[0] == 1
}

func (r *tableReader) text() string {
	n := r.uint()
	if n >= uint64(len(r.texts)) {
		r.fail()
		return ""
	}
	return r.texts[n]
}

func (r *tableReader) texted() []string {
	n := r.len(1)
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = r.text()
	}
	return list
}

func (r *tableReader) label() map[string]string {
	n := r.uint()
	if n >= uint64(len(r.sets)) {
		r.fail()
		return nil
	}
	return r.sets[n]
}

func (r *tableReader) time() (t time.Time) {
	if b := r.short(); r.err == nil && t.UnmarshalBinary(b) != nil {
		r.fail()
	}
	return t
}

func (r *tableReader) addr() (a netip.Addr) {
	if b := r.short(); r.err == nil && a.UnmarshalBinary(b) != nil {
		r.fail()
	}
	return a
}

func (r *tableReader) prefix() (p netip.Prefix) {
	if b := r.short(); r.err == nil && p.UnmarshalBinary(b) != nil {
		r.fail()
	}
	return p
}

func (r *tableReader) ports() []events.Port {
	n := r.len(3)
	if n == 0 {
		return nil
	}
	list := make([]events.Port, n)
	for i := range list {
		list[i] = events.Port{Name: r.text(), Number: r.int(), Protocol: r.text()}
	}
	return list
}
