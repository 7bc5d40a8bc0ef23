package scheduler

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/taskwall/taskwall/events"
)

// full gives every field of a value something, also those that are added later.
func full(v reflect.Value, n *int) {
	*n++
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Date(2026, 1, 2, 3, 4, *n, *n, time.FixedZone("", 3600*(*n%3)))
		return
	case *netip.Addr:
		*x = netip.AddrFrom4([4]byte{10, 0, byte(*n >> 8), byte(*n)})
		return
	case *netip.Prefix:
		*x = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(*n), 0, 0}), 16)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				full(v.Field(i), n)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		full(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		full(v.Index(0), n)
		full(v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			full(k, n)
			full(e, n)
			v.SetMapIndex(k, e)
		}
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(int64(-*n))
	default:
		panic("a kind that no test made: " + v.Type().String())
	}
}

// Every field of the tables' rows survives, also one that was added to the
// types and forgotten in the tables.
func TestTablesHoldEveryField(t *testing.T) {
	in := snapshot{Cluster: events.NewCluster(), Endpoints: make([]endpointAtRest, 2), Blocks: []*block{{}, {}}}
	n := 0
	for range 3 {
		var task events.Task
		full(reflect.ValueOf(&task).Elem(), &n)
		in.Cluster.Tasks[task.Key()] = task
	}
	for i := range in.Endpoints {
		full(reflect.ValueOf(&in.Endpoints[i]).Elem(), &n)
		full(reflect.ValueOf(in.Blocks[i]).Elem(), &n)
	}
	in.Cluster.Tasks["empty"], in.Endpoints[1] = events.Task{Healthy: new(bool)}, endpointAtRest{}
	w := newTableWriter()
	if err := in.tables(w); err != nil {
		t.Fatal(err)
	}
	out := snapshot{Cluster: events.NewCluster(), Nested: in.Nested}
	r := newTableReader(w.bytes())
	out.readTables(r)
	if err := out.nest(); err != nil || r.err != nil || len(r.rest) > 0 {
		t.Fatalf("%v, %v, %d bytes are left", err, r.err, len(r.rest))
	}
	plain := cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(block{}), cmp.Comparer(func(a, b time.Time) bool {
		x, _ := a.MarshalText()
		y, _ := b.MarshalText()
		return bytes.Equal(x, y) // the zone, too
	}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
	if diff := cmp.Diff(in, out, plain); diff != "" {
		t.Error(diff)
	}
}

// someWorld has something of most kinds.
func someWorld(t *testing.T) *world {
	w := threeHosts(t)
	w.apply(webToDB)
	w.task("web.1", "h1", "TASK_RUNNING", "app=web", "taskwall.environment=production")
	w.task("db.1", "h2", "TASK_STAGING", "app=db", "uses=everything")
	w.task("old.1", "h3", "TASK_RUNNING")
	w.task("old.1", "h3", "TASK_KILLED")
	w.detached("h3", "old.1")
	return w
}

func TestSnapshotForms(t *testing.T) {
	w := someWorld(t)
	text, err := w.state.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	data, err := w.state.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for form, snapshot := range map[string][]byte{"JSON": text, "binary": data} {
		s := NewState()
		if err := s.UnmarshalBinary(snapshot); err != nil {
			t.Errorf("%s: %v", form, err)
		}
		if again, err := s.MarshalBinary(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%s: another state, %v", form, err)
		}
	}
	later := append([]byte("taskwall-state 99\n"), data...)
	headless := binary.AppendUvarint([]byte(SnapshotForm+"\n"), uint64(len(`{"version":2,"cluster":null}`)))
	headless = append(append(headless, `{"version":2,"cluster":null}`...), newTableWriter().bytes()...)
	headless = append(headless, 0, 0, 0) // no tasks, endpoints, blocks
	for what, c := range map[string]struct{ data, says string }{
		"a later version":    {string(later), `version "99", this program reads 4`},
		"no snapshot":        {"hello", "it is none"},
		"nothing":            {"", "it is none"},
		"no cluster":         {`{"version":2,"cluster":null}`, "not whole"},
		"an endpoint twice":  {strings.Replace(string(text), `"endpoints":[{`, `"endpoints":[{"id":"fw/web.1","host":"h1"},{`, 1), "an endpoint twice"},
		"no cluster, binary": {string(headless), "not whole"},
		"no block":           {`{"version":2,"blocks":[null]}`, "not whole"},
	} {
		s := NewState()
		if err := s.UnmarshalBinary([]byte(c.data)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for cut := range len(data) {
		s := NewState()
		if err := s.UnmarshalBinary(data[:cut]); err == nil {
			t.Fatalf("read what was cut off after %d of %d bytes", cut, len(data))
		}
		if s.Seq() != 0 {
			t.Fatal("half a snapshot is left")
		}
	}
	if err := NewState().UnmarshalBinary(append(data, 0)); err == nil {
		t.Error("read a snapshot with something after it")
	}
}

// FuzzUnmarshalBinary reads what anybody may have written.
func FuzzUnmarshalBinary(f *testing.F) {
	s := someWorld(new(testing.T)).state
	data, err := s.MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(text)
	f.Fuzz(func(t *testing.T, data []byte) {
		s := NewState()
		if s.UnmarshalBinary(data) != nil {
			return
		}
		once, err := s.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		again := NewState()
		if err := again.UnmarshalBinary(once); err != nil {
			t.Fatalf("not read again: %v", err)
		}
		if twice, err := again.MarshalBinary(); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("another state, %v", err)
		}
	})
}
