package scheduler

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
)

var writeGolden = flag.Bool("golden", false, "write the snapshot of the log in testdata/ in this program's form: once, when the form is new")

// The files were written once. Logs, signed states and snapshots of years ago
// must go on to be read and to be made alike.
var (
	goldenLog    = filepath.Join("testdata", "log.jsonl")
	goldenBinary = filepath.Join("testdata", "state-"+binaryVersion+".bin")
	goldenWorded = filepath.Join("testdata", "state-3.bin")
	goldenJSON   = filepath.Join("testdata", "state.json")
)

// TestGolden folds a log of long ago, and reads its snapshots.
func TestGolden(t *testing.T) {
	log, err := os.Open(goldenLog)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // only read
	folded := NewState()
	lines := bufio.NewScanner(log)
	for seq := uint64(1); lines.Scan(); seq++ {
		var ev events.Event
		if err := events.Decode(lines.Bytes(), &ev); err != nil {
			t.Fatalf("record %d: %v", seq, err)
		}
		folded.Apply(events.Entry{Seq: seq, Event: ev})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if *writeGolden {
		data, err := folded.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenBinary, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name string) []byte {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatalf("%v: a new form of snapshots needs a new golden file (-golden)", err)
		}
		return data
	}
	read := func(name string) *State {
		s := NewState()
		if err := s.UnmarshalBinary(file(name)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return s
	}
	for of, s := range map[string]*State{"the log": folded, goldenBinary: read(goldenBinary), goldenWorded: read(goldenWorded), goldenJSON: read(goldenJSON)} {
		want := map[string][]byte{SnapshotForm: file(goldenBinary), worded: file(goldenWorded)}
		if of == goldenBinary {
			if _, err := s.MarshalForm(worded); !errors.Is(err, ErrForm) {
				t.Errorf("%s has no words of the refusal, and makes the form with them: %v", of, err)
			}
			delete(want, worded)
		}
		for form, want := range want {
			if got, err := s.MarshalForm(form); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s makes another state in the form %s than it did (%v): what was signed of it would be taken for altered", of, form, err)
			}
		}
		if len(s.Endpoints()) != 3 || s.Seq() < 20 || s.Refusal() == nil {
			t.Errorf("%s has %d endpoints and %d records: it is no test of much", of, len(s.Endpoints()), s.Seq())
		}
		// A later program may say otherwise why a policy change was refused.
		s.refusal.Error = "other words"
		if got, err := s.MarshalBinary(); err != nil || !bytes.Equal(got, want[SnapshotForm]) {
			t.Errorf("%s: the words of a refusal change the state (%v)", of, err)
		}
	}
}

// What a host is told of an endpoint without an address, and a state holds of it,
// was published and signed in these words: others would be taken for altered.
func TestWordsThatAreSignedStay(t *testing.T) {
	pools := []policy.Pool{{Name: "main", CIDR: netip.MustParsePrefix("10.8.0.0/30"), BlockSize: 30}}
	a := newAddresses()
	assign := func(host string) error {
		_, _, err := a.assign(pools, host, "e", time.Time{}, 0, func(string) bool { return false })
		return err
	}
	if err := assign("h1"); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(assign("h2")), "pool main (10.8.0.0/30): no free address: every block is assigned and those of host h2 are full; enlarge the pool or add one"; got != want {
		t.Errorf("%s", got)
	}
	w := threeHosts(t)
	w.apply(pool("main", "10.8.0.0/28", 30, "app == 'web'"))
	w.task("a", "h1", "TASK_STAGING")
	if got, want := w.endpoint("h1", "a").Refused, "no IPPool admits the task: every pool is disabled or has a taskwall/selector that does not match its labels"; got != want {
		t.Errorf("%s", got)
	}
}
