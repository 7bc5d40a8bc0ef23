package bgp

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/work"
	"pgregory.net/rapid"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

var lab = admission{
	accept:   []netip.Prefix{prefix("10.0.0.0/8"), prefix("172.20.0.0/16")},
	pools:    []netip.Prefix{prefix("10.64.0.0/16")},
	announce: []work.Announcement{{Prefix: prefix("10.64.3.0/24")}, {Prefix: prefix("10.64.9.9/32")}},
	host:     []netip.Addr{netip.MustParseAddr("10.1.2.3")},
}

func TestAdmission(t *testing.T) {
	for p, want := range map[string]string{
		"10.64.4.0/24":   "",
		"10.64.4.7/32":   "",
		"172.20.0.0/16":  "",
		"172.20.1.0/24":  "",
		"10.64.3.9/32":   "", // an address of the block that lives elsewhere
		"10.64.0.0/17":   "", // more than our block: the kernel prefers ours
		"10.64.3.0/24":   "it is the host's own",
		"10.64.9.9/32":   "it is the host's own",
		"10.64.3.0/25":   "it is a part of the host's own block 10.64.3.0/24",
		"10.64.3.4/31":   "it is a part of the host's own block 10.64.3.0/24",
		"10.64.0.0/16":   "it covers the whole pool 10.64.0.0/16",
		"10.64.0.0/10":   "it covers the whole pool 10.64.0.0/16",
		"10.0.0.0/8":     "it covers the host's own address 10.1.2.3",
		"10.1.2.3/32":    "it covers the host's own address 10.1.2.3",
		"0.0.0.0/0":      "a default route is never learned",
		"0.0.0.0/1":      "it is in reserved 0.0.0.0/8",
		"127.0.0.1/32":   "it is in reserved 127.0.0.0/8",
		"169.254.1.1/32": "it is in reserved 169.254.0.0/16",
		"224.0.0.5/32":   "it is in reserved 224.0.0.0/3",
		"192.168.0.0/24": "it is in no network that may be learned",
		"172.16.0.0/12":  "it is in no network that may be learned",
		"fd00::/64":      "it is no IPv4 network",
	} {
		if got := lab.refuse(prefix(p)); got != want {
			t.Errorf("%s: %q, want %q", p, got, want)
		}
	}
}

// anyPrefix is near what the lab knows, so that cases meet.
func anyPrefix(t *rapid.T) netip.Prefix {
	a := rapid.SampledFrom([]string{"10.64.3.0", "10.64.3.77", "10.64.9.9", "10.1.2.3", "172.20.5.0", "172.16.0.0", "169.254.1.1", "10.65.0.0", "203.0.113.1"}).Draw(t, "address")
	p, err := netip.MustParseAddr(a).Prefix(rapid.IntRange(0, 32).Draw(t, "bits"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The engine is told just what admission says.
func TestEngineIsToldTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPrefix(t)
		told := false
		for _, n := range lab.accept {
			told = told || within(n, p)
		}
		for _, s := range lab.never() {
			told = told && !s.has(p)
		}
		if why := lab.refuse(p); told != (why == "") {
			t.Fatalf("%s: the engine takes it: %v; admission says %q", p, told, why)
		}
	})
}

func TestFirstFilterDecides(t *testing.T) {
	filters := []work.BGPFilter{
		{Prefix: prefix("10.64.0.0/16"), Match: "In", MinLength: 32, Filter: "f", Index: 0},
		{Prefix: prefix("10.64.0.0/16"), Match: "In", MinLength: 20, MaxLength: 26, Accept: true, Filter: "f", Index: 1},
		{Prefix: prefix("172.20.0.0/16"), Match: "Equal", Accept: true, Filter: "f", Index: 2},
		{Prefix: prefix("192.168.0.0/16"), Match: "NotIn", Origin: "RemotePeers", Filter: "f", Index: 3},
		{Prefix: prefix("192.168.1.0/24"), Match: "NotEqual", Filter: "g", Index: 0},
	}
	for _, c := range []struct {
		prefix string
		remote bool
		accept bool
		by     string
	}{
		{"10.64.1.7/32", true, false, "filter f rule 0"},
		{"10.64.1.0/24", true, true, "filter f rule 1"},
		{"10.64.0.0/17", true, false, "filter f rule 3"},
		{"10.64.0.0/17", false, false, "filter g rule 0"},
		{"172.20.0.0/16", true, true, "filter f rule 2"},
		{"172.20.1.0/24", true, false, "filter f rule 3"},
		{"192.168.1.0/24", true, true, ""},
		{"192.168.2.0/24", true, false, "filter g rule 0"},
	} {
		accept, by := decide(filters, prefix(c.prefix), c.remote)
		if accept != c.accept || by != c.by {
			t.Errorf("%s: %v by %q, want %v by %q", c.prefix, accept, by, c.accept, c.by)
		}
	}
}

// A peer that comes and goes every second is reported a few times, with the
// count, and its way back to quiet is not forgotten.
func TestFlappingIsReportedRarely(t *testing.T) {
	now := time.Unix(0, 0)
	s := newSession("r", netip.MustParseAddr("192.0.2.9"), now)
	var said, flaps int
	for range 600 {
		now = now.Add(time.Second)
		s.enter(established, "", now)
		if r, ok := s.report(now); ok {
			said++
			flaps += r.Flaps
		}
		now = now.Add(time.Second)
		s.enter("idle", "hold timer expired", now)
		if r, ok := s.report(now); ok {
			said++
			flaps += r.Flaps
			if r.Error != "hold timer expired" {
				t.Errorf("%+v", r)
			}
		}
	}
	if said < 3 || said > 12 {
		t.Errorf("1,200 changes in 20 minutes were reported %d times", said)
	}
	if flaps+s.flaps != 1200 {
		t.Errorf("%d of 1,200 changes are accounted for", flaps+s.flaps)
	}
	now = now.Add(time.Hour)
	s.enter(established, "", now)
	if r, ok := s.report(now); !ok || r.State != established {
		t.Errorf("after an hour: %+v, %v", r, ok)
	}
}

// A peer that never comes up is reported once its time is over.
func TestSilentPeerIsReported(t *testing.T) {
	now := time.Unix(0, 0)
	s := newSession("r", netip.MustParseAddr("192.0.2.9"), now)
	s.enter("active", "", now)
	if _, ok := s.report(now.Add(patience / 2)); ok {
		t.Error("reported before it had time")
	}
	r, ok := s.report(now.Add(patience))
	if !ok || r.State != "active" || r.Flaps != 0 {
		t.Errorf("%+v, %v", r, ok)
	}
	if r, ok := s.report(now.Add(time.Hour)); ok {
		t.Errorf("said again: %+v", r)
	}
}

func TestRefusalsAreCountedAndBounded(t *testing.T) {
	now := time.Unix(0, 0)
	r := newRefusals()
	p := prefix("10.0.0.0/24")
	for range 5 {
		r.add("a", p, "why", now)
	}
	if got := r.report(now); len(got) != 1 || got[0].Count != 5 {
		t.Fatalf("%+v", got)
	}
	r.add("a", p, "why", now)
	if got := r.report(now.Add(time.Minute)); len(got) != 0 {
		t.Fatalf("reported again at once: %+v", got)
	}
	if got := r.report(now.Add(refusalAgain)); len(got) != 1 || got[0].Count != 1 {
		t.Fatalf("%+v", got)
	}
	for i := range 5 * maxRefusals {
		r.add("b", netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), 32), "why", now)
	}
	if got := r.report(now); len(got) != refusalsAtOnce {
		t.Errorf("%d at once", len(got))
	}
	if len(r.known) > maxRefusals+1 || len(r.queue) > maxRefusals+1 {
		t.Errorf("%d are told apart", len(r.known))
	}
	if r.total["b"] != 5*maxRefusals {
		t.Errorf("%d counted", r.total["b"])
	}
	for i := range 10 { // later there is room again
		r.report(now.Add(time.Duration(1+i) * refusalAgain * 2))
	}
	for range maxRefusals / refusalsAtOnce * 2 {
		now = now.Add(refusalAgain * 2)
		r.report(now)
	}
	if len(r.known) >= maxRefusals {
		t.Errorf("%d are remembered for ever", len(r.known))
	}
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"good": "s3cret\n", "empty": "\n", "long": strings.Repeat("x", 81)} {
		if err := writeSecret(dir, name, text); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := secret(dir, "good"); err != nil || got != "s3cret" {
		t.Errorf("%q, %v", got, err)
	}
	for _, name := range []string{"empty", "long", "missing", "../good", "/etc/passwd", "a/b", ".", ".."} {
		if got, err := secret(dir, name); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
	if _, err := secret("", "good"); err == nil {
		t.Error("read without a directory")
	}
}

func FuzzCommunity(f *testing.F) {
	f.Add("64512:100")
	f.Add("64512:0:100")
	f.Add("a:b:c:")
	f.Fuzz(func(t *testing.T, text string) {
		_, err := path(work.Announcement{Prefix: prefix("10.0.0.0/24"), Communities: []string{text}}, false)
		if err == nil && strings.Count(text, ":") != 1 && strings.Count(text, ":") != 2 {
			t.Errorf("%q was taken", text)
		}
	})
}

func writeSecret(dir, name, text string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
}

// A peer that just told of another prefix and then dies is reported dead at
// once: only its own flapping holds a report back.
func TestCountsHoldBackNoChangeOfTheSession(t *testing.T) {
	now := time.Unix(0, 0)
	s := newSession("r", netip.MustParseAddr("192.0.2.9"), now)
	s.enter(established, "", now)
	if _, ok := s.report(now); !ok {
		t.Fatal("the session is not reported")
	}
	now = now.Add(2 * countsEvery)
	s.counts.received++
	if r, ok := s.report(now); !ok || r.Received != 1 {
		t.Fatalf("the prefix is not reported: %+v", r)
	}
	now = now.Add(time.Second)
	s.enter("active", "the connection was lost", now)
	if r, ok := s.report(now); !ok || r.State != "active" {
		t.Errorf("the end is not reported: %+v", r)
	}
}
