package diff_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/taskwall/taskwall/policy/diff"
	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/policy/policytest"
)

var update = flag.Bool("update", false, "write what comes out now as what is wanted")

func TestCompare(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	for _, name := range archives {
		t.Run(filepath.Base(name), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for _, f := range a.Files {
				path := filepath.Join(dir, f.Name)
				os.MkdirAll(filepath.Dir(path), 0o755)
				if err := os.WriteFile(path, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			worlds := map[string]*explain.World{}
			for _, side := range []string{"old", "new"} {
				if worlds[side], err = explain.Offline(filepath.Join(dir, side), filepath.Join(dir, "endpoints.yaml")); err != nil {
					t.Fatal(err)
				}
			}
			r, err := diff.Compare(t.Context(), worlds["old"], worlds["new"])
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := r.WriteText(&b); err != nil {
				t.Fatal(err)
			}
			want := &a.Files[len(a.Files)-1]
			if *update {
				want.Data = b.Bytes()
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(string(want.Data), b.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestNoFlowIsMissed compares random pairs of policies. Whenever a packet
// between two endpoints has another verdict than before, the diff must name
// the pair; and when the diff is empty, none may have.
func TestNoFlowIsMissed(t *testing.T) {
	changed := 0
	for seed := range uint64(150) {
		g := policytest.Seeded(5_000_000 + seed)
		g.Protocols = []int{6, 17, 1, 47}
		old := g.Cluster(8, 4)
		next := policytest.Cluster{Resources: old.Resources, Endpoints: old.Endpoints}
		next.Resources = slices.Clone(old.Resources)
		for i := range next.Resources {
			if k := next.Resources[i].Kind; strings.HasSuffix(k, "Policy") && !strings.HasPrefix(k, "Staged") && g.Pick(2) == 0 {
				number, err := strconv.Atoi(strings.TrimPrefix(next.Resources[i].Name, "policy-"))
				if err != nil {
					t.Fatal(err)
				}
				next.Resources[i] = g.Policy(number)
			}
		}
		a, err := explain.New(old.Resources, old.Endpoints, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := explain.New(next.Resources, next.Endpoints, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := diff.Compare(t.Context(), a, b)
		if err != nil {
			t.Fatal(err)
		}
		named := map[string]bool{}
		for _, f := range append(r.Allowed, r.Denied...) {
			named[f.From.App+f.From.Environment+">"+f.To.App+f.To.Environment] = true
		}
		for range 400 {
			p := g.Packet(old.Endpoints)
			if p.SrcPort != 0 {
				p.SrcPort = 40000
			}
			from, to := a.Name(p.From), a.Name(p.To)
			if p.From.Endpoint == "" || p.To.Endpoint == "" || p.From == p.To {
				continue
			}
			if a.Resolver.Verdict(p).Allowed == b.Resolver.Verdict(p).Allowed {
				continue
			}
			changed++
			app := func(n explain.Name) string {
				if n.App == "" {
					return n.Endpoint + n.Environment
				}
				return n.App + n.Environment
			}
			if !named[app(from)+">"+app(to)] {
				t.Fatalf("seed %d: %+v changed and is not named\n%+v\nold\n%s\nnew\n%s", seed, p, r, old.Text(), next.Text())
			}
		}
	}
	if changed < 100 {
		t.Errorf("only %d packets changed: the test proves little", changed)
	}
}
