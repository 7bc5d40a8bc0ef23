package firewall

import (
	"context"
	"log/slog"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

func TestMain(m *testing.M) { netlab.Main(m) }

func parseMark(t *testing.T, s string) (value, mask uint32) {
	t.Helper()
	a, b, _ := strings.Cut(s, "/")
	v, err := strconv.ParseUint(a, 0, 32)
	if err != nil {
		t.Fatal(err)
	}
	m, err := strconv.ParseUint(b, 0, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(v), uint32(m)
}

var backends = []Backend{NFT, Legacy}

// open gives a test its own firewall on a fresh host.
func open(t testing.TB, b Backend) *Firewall {
	t.Helper()
	f, err := Open(context.Background(), Config{Backend: b, HostPorts: []uint16{5051}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		for _, script := range []string{"iptables-" + string(b), "ip6tables-" + string(b)} {
			for _, table := range []string{"filter", "mangle"} {
				run(t, script, "-t", table, "-F")
				run(t, script, "-t", table, "-X")
			}
		}
		run(t, "ipset", "destroy")
	})
	return f
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var errs strings.Builder
	cmd.Stderr = &errs // apart: the tools also warn there
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, errs.String())
	}
	return string(out)
}

func sample() Picture {
	p := Picture{Sets: map[string]*work.SetState{}, Programs: map[string]work.Program{}}
	for _, id := range []string{"web", "office", "bad"} {
		p.Sets[id] = &work.SetState{Type: work.Nets, Members: map[string]struct{}{"10.0.0.1": {}, "10.8.0.0/16": {}}}
	}
	p.Sets["named"] = &work.SetState{Type: work.Ports, Members: map[string]struct{}{"10.0.0.1,tcp:8080": {}}}
	for _, s := range samples() {
		p.Programs[s.ID] = s
	}
	ws := []Wire{
		{netip.MustParseAddr("10.0.0.1"), "tw0", "db"},
		{netip.MustParseAddr("10.0.0.2"), "tw1", "open"},
		{netip.MustParseAddr("10.0.0.3"), "tw2", ""},
	}
	p.Wires = func(do func([]Wire) error) error { return do(ws) }
	return p
}

// What we write reads back as we wrote it, with every kind of rule: so a later
// look, also by a later process, finds no difference and writes nothing.
func TestReadsBackAsWritten(t *testing.T) {
	for _, b := range backends {
		t.Run(string(b), func(t *testing.T) {
			ctx := context.Background()
			f := open(t, b)
			if _, failures, err := f.Sync(ctx, sample()); err != nil || len(failures) > 0 {
				t.Fatal(err, failures)
			}
			again, err := Open(ctx, Config{Backend: b, HostPorts: []uint16{5051}, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			for name, fw := range map[string]*Firewall{"the same process": f, "the next process": again} {
				if _, err := fw.read(ctx, nil); err != nil {
					t.Fatal(err)
				}
				fw.sets = f.sets
				for _, p := range samples() {
					fw.stage(p.ID, fw.compile(p))
				}
				fw.number()
				var patch strings.Builder
				for _, t := range []*table{fw.filter, fw.mangle, fw.filter6} {
					t.patch(&patch)
				}
				if patch := patch.String(); patch != "" {
					t.Errorf("%s would write:\n%s", name, patch)
				}
			}
		})
	}
}

// Whatever others do to our rules, sets and wires is found, said and mended.
func TestDriftIsMended(t *testing.T) {
	for _, b := range backends {
		ipt := "iptables-" + string(b)
		for name, tc := range map[string]struct {
			harm [][]string
			says string
		}{
			"chain flushed":          {[][]string{{ipt, "-F", "tw-i-db"}}, "tw-i-db"},
			"rule deleted":           {[][]string{{ipt, "-D", "tw-forward", "1"}}, "tw-forward"},
			"rule inserted":          {[][]string{{ipt, "-I", "tw-task", "-j", "ACCEPT"}}, "tw-task"},
			"rule above our jump":    {[][]string{{ipt, "-I", "FORWARD", "-j", "ACCEPT"}}, "1 rules stood before"},
			"table flushed":          {[][]string{{ipt, "-F"}, {ipt, "-X"}}, "chain tw-forward was gone"},
			"mangle flushed":         {[][]string{{ipt, "-t", "mangle", "-F"}}, "iptables mangle"},
			"IPv6 opened":            {[][]string{{"ip6" + ipt[2:], "-F"}}, "ip6tables"},
			"foreign chain":          {[][]string{{ipt, "-N", "tw-left-over"}}, "tw-left-over was there"},
			"set flushed":            {[][]string{{"ipset", "flush", "tw-s-web"}}, "tw-s-web differed in 2"},
			"member added":           {[][]string{{"ipset", "add", "tw-s-web", "6.6.6.6"}}, "tw-s-web differed in 1"},
			"wire removed":           {[][]string{{"ipset", "del", "tw-src", "10.0.0.1,tw0"}}, "tw-src differed in 1"},
			"wire opened":            {[][]string{{"ipset", "add", "tw-dst", "10.0.0.3,tw2", "skbmark", "0x4000/0xfffc000", "-exist"}}, "tw-dst differed in 1"},
			"wire of another's tap":  {[][]string{{"ipset", "add", "tw-src", "10.0.0.9,tw9", "skbmark", "0x1/0x3fff"}}, "tw-src differed in 1"},
			"our jump doubled":       {[][]string{{ipt, "-A", "FORWARD", "-j", "tw-forward"}}, ""},
			"stale set of ours":      {[][]string{{"ipset", "create", "tw-s-old", "hash:net"}}, "tw-s-old was there"},
			"stale set, odd type":    {[][]string{{"ipset", "create", "tw-x", "list:set"}}, "tw-x was there"},
			"someone else's is left": {[][]string{{ipt, "-A", "FORWARD", "-s", "1.2.3.4", "-j", "DROP"}, {"ipset", "create", "theirs", "hash:ip"}}, "-"},
		} {
			t.Run(string(b)+"/"+name, func(t *testing.T) {
				ctx := context.Background()
				f := open(t, b)
				if _, failures, err := f.Sync(ctx, sample()); err != nil || len(failures) > 0 {
					t.Fatal(err, failures)
				}
				before := dump(t, b)
				for _, h := range tc.harm {
					run(t, h[0], h[1:]...)
				}
				harmed := dump(t, b)
				if harmed == before {
					t.Fatal("the harm did nothing: the test is wrong")
				}
				drift, failures, err := f.Sync(ctx, sample())
				if err != nil || len(failures) > 0 {
					t.Fatal(err, failures)
				}
				said := strings.Join(drift, "\n")
				if tc.says == "-" {
					if len(drift) > 0 || dump(t, b) != harmed {
						t.Errorf("what is not ours was touched: %s", said)
					}
					return
				}
				if d := cmp.Diff(ours(before), ours(dump(t, b))); d != "" {
					t.Errorf("not mended:\n%s", d)
				}
				if !strings.Contains(said, tc.says) {
					t.Errorf("said %q, want %q in it", said, tc.says)
				}
				if drift, _, err := f.Sync(ctx, sample()); err != nil || len(drift) > 0 {
					t.Errorf("a second look finds %q, %v", drift, err)
				}
			})
		}
	}
}

// dump is all rules and sets of the host, comparable.
func dump(t testing.TB, b Backend) string {
	t.Helper()
	var lines []string
	for _, v := range []string{"iptables-", "ip6tables-"} {
		for _, table := range []string{"filter", "mangle"} {
			for line := range strings.Lines(run(t, v+string(b)+"-save", "-t", table)) {
				if !strings.HasPrefix(line, "#") && !(strings.HasPrefix(line, ":") && strings.Contains(line, " ACCEPT ")) {
					lines = append(lines, v+table+" "+line)
				}
			}
		}
	}
	sets := slices.Sorted(strings.Lines(run(t, "ipset", "save")))
	for _, s := range sets { // without the random start value of the hash
		s, _, _ = strings.Cut(s, " initval")
		lines = append(lines, strings.TrimSpace(s)+"\n")
	}
	return strings.Join(lines, "")
}

// ours leaves out rules that others inserted in the built-in chains.
func ours(dump string) string {
	var out []string
	for line := range strings.Lines(dump) {
		if strings.Contains(line, "-A FORWARD") && !strings.Contains(line, "tw-") {
			continue
		}
		out = append(out, line)
	}
	return strings.Join(out, "")
}

// A batch with a program that the kernel refuses puts the others in force,
// closes that one and says so.
func TestFailingProgramIsNarrowedDown(t *testing.T) {
	for _, b := range backends {
		t.Run(string(b), func(t *testing.T) {
			ctx := context.Background()
			f := open(t, b)
			p := sample()
			if _, failures, err := f.Sync(ctx, p); err != nil || len(failures) > 0 {
				t.Fatal(err, failures)
			}
			var put []work.Program
			for _, id := range []string{"a", "b", "c", "d", "e"} {
				put = append(put, work.Program{ID: id, Ingress: []work.Tier{{Rules: []work.Rule{
					{Action: work.Allow, Policy: "NetworkPolicy x/" + id, Source: work.Match{Sets: []string{"web"}}}}}}})
			}
			f.sets["gone"] = work.Nets // known to us, not to the kernel
			put[2].Ingress[0].Rules[0].Source.Sets = []string{"gone"}
			put[3].Ingress[0].Rules[0].Source.Sets = []string{"neverthere"}
			failures, err := f.Programs(ctx, put, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(failures) != 2 || failures[0].Key != "program c" || failures[1].Key != "program d" {
				t.Errorf("failures: %+v", failures)
			}
			// The check neither stumbles over the refused one nor gives it up.
			for _, q := range put {
				p.Programs[q.ID] = q
			}
			p.Sets["gone"] = &work.SetState{Type: "odd", Members: nil} // cannot be made
			run(t, "iptables-"+string(b), "-F", "tw-i-db")
			if drift, failures, err := f.Sync(ctx, p); err != nil || len(failures) != 3 || len(drift) != 1 {
				t.Errorf("a check with a refused program: %q, %+v, %v", drift, failures, err)
			}
			rules := run(t, "iptables-"+string(b)+"-save", "-t", "filter")
			for _, id := range []string{"a", "b", "e"} {
				if !strings.Contains(rules, `-A tw-i-`+id+` -m set --match-set tw-s-web src`) {
					t.Errorf("program %s is not in force", id)
				}
			}
			for _, id := range []string{"c", "d"} {
				if !strings.Contains(rules, "-A tw-i-"+id+` -m comment --comment "closed: `) || strings.Contains(rules, "-A tw-i-"+id+" -m set") {
					t.Errorf("program %s is not closed:\n%s", id, rules)
				}
			}
			p.Sets["gone"] = p.Sets["web"]
			if _, failures, err := f.Sync(ctx, p); err != nil || len(failures) != 1 {
				t.Errorf("when its set is there: %+v, %v", failures, err)
			}
			if rules := run(t, "iptables-"+string(b)+"-save", "-t", "filter"); !strings.Contains(rules, "-A tw-i-c -m set --match-set tw-s-gone src") {
				t.Error("the program is not in force when what it lacked has come")
			}
		})
	}
}
